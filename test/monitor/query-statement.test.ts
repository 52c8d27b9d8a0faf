import t from 'tap'
import { readStatement } from '../../lib/monitor/query-statement.ts'

t.test('values are not in the text, whatever way a database has to write them', async (t) => {
  const cases: ReadonlyArray<readonly [system: string, text: string, clean: string]> = [
    ['postgresql', 'SELECT * FROM users WHERE mail = \'bob@example.com\' AND age > 42', 'SELECT * FROM users WHERE mail = ? AND age > ?'],
    ['postgresql', 'SELECT "mail", t1.x FROM "Users" t1 WHERE id = $1 OR id = $2', 'SELECT "mail", t1.x FROM "Users" t1 WHERE id = $1 OR id = $2'],
    ['postgresql', 'INSERT INTO t VALUES (1, \'it\'\'s secret\', NULL), (2, \'\', true)', 'INSERT INTO t VALUES (?, NULL), (?, true)'],
    ['postgresql', 'SELECT $tag$secret \' $x$ $tag$, $$secret$$ FROM t', 'SELECT ? FROM t'],
    ['postgresql', 'SELECT data #> \'{secret}\' FROM t', 'SELECT data #> ? FROM t'],
    ['postgresql', 'SELECT /* user=bob /* nested */ secret */ 1 -- it\'s secret\nFROM t', 'SELECT ? FROM t'],
    ['postgresql', 'SELECT E\'a\\\'secret\' FROM t WHERE x = \'more secret\'', 'SELECT E?…'],
    ['mysql', 'SELECT "secret", `user`.`it\'s` FROM `user` WHERE x = -1.5e3 # secret\' \n AND y = 0xFF', 'SELECT ?, `user`.`it\'s` FROM `user` WHERE x = -? AND y = ?'],
    ['mysql', 'SELECT \'a\\\'secret\' FROM t WHERE x = \'more secret\'', 'SELECT ?…'],
    ['mssql', 'SELECT [it\'s] FROM [dbo].[t] WHERE a = N\'secret\'', 'SELECT [it\'s] FROM [dbo].[t] WHERE a = N?'],
    ['oracle', 'SELECT q\'[it\'s secret]\' FROM dual', 'SELECT ?…'],
    ['unheard-of', 'select * from t where a = "secret" and b = \'secret\'', 'select * from t where a = ? and b = ?'],
    ['postgresql', 'SELECT \'never closed secret', 'SELECT ?…'],
    ['postgresql', 'SELECT /* never closed secret', 'SELECT ?…'],
    ['mongodb', '{"find":"users","filter":{"mail":"bob@example.com","age":{"$gt":42},"bob@example.com":"x"}}', '{"find":?,"filter":{"mail":?,"age":{"$gt":?},?:?}}'],
    ['redis', 'set user:bob secret', 'set ?'],
    ['redis', 'PING', 'PING'],
    ['elasticsearch', 'GET /people/_doc/bob', 'GET ?'],
    ['unheard-of', 'bob@example.com', '?…'],
    ['unheard-of', '', '']
  ]
  for (const [system, text, clean] of cases) t.equal(readStatement(text, system).text, clean, text)
})

t.test('what is done, and to what', async (t) => {
  const cases: ReadonlyArray<readonly [text: string, operation: string, target: string]> = [
    ['SELECT 1', 'select', ''],
    ['  /* hint */ select * from "public"."users" u join b on true', 'select', 'public.users'],
    ['INSERT INTO orders (id) SELECT id FROM old', 'insert', 'orders'],
    ['UPDATE ONLY t SET x = 1', 'update', 't'],
    ['delete from `shop`.`carts` where true', 'delete', 'shop.carts'],
    ['(SELECT a FROM x) UNION (SELECT b FROM y)', 'select', 'x'],
    ['WITH a AS (SELECT 1 FROM x WHERE y IN (1, 2)) INSERT INTO t SELECT * FROM a', 'insert', 'x'],
    ['with recursive a as (select 1) select * from a', 'select', 'a'],
    ['BEGIN', 'begin', ''],
    ['EXPLAIN ANALYZE SELECT 1', 'explain', ''],
    ['select \'from secret\'', 'select', ''],
    ['{"find":"users"}', 'unknown', ''],
    ['frobnicate all', 'frobnicate', '']
  ]
  for (const [text, operation, target] of cases) t.match(readStatement(text, 'postgresql'), { operation, target }, text)
})

t.test('a text of any length and any content costs little', async (t) => {
  const hostile = ['\'', '\'\'', '"', '/*', '$$', '$a', '(', '\\\'', '?,', ' ', 'a', '1', '#\n', '`', '[', '{"a":'].map((piece) => `select ${piece.repeat(2_000_000 / piece.length)}`)
  for (const system of ['postgresql', 'mysql', 'mssql']) {
    for (const text of hostile) {
      const startedAt = performance.now()
      const { text: clean } = readStatement(text, system)
      t.ok(performance.now() - startedAt < 250, `${system} ${text.slice(0, 12)}`)
      t.ok(clean.length <= 12_000, `${clean.length}`)
    }
  }
})
