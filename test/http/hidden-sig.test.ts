import t from 'tap'
import { withoutSig } from '../../lib/http/hidden-sig.ts'

t.test('a link is hidden however the name of its parameter is written', async (t) => {
  for (const name of ['sig', '%73ig', 's%69g', 'si%67', '%73%69%67']) {
    t.equal(withoutSig(`/jobs/a?b=1&${name}=secret&c=2`), `/jobs/a?b=1&${name}=[redacted]&c=2`)
    t.equal(withoutSig(`/jobs/a?${name}=secret`), `/jobs/a?${name}=[redacted]`)
  }
  t.equal(withoutSig('/jobs/a?design=1&sigma=2'), '/jobs/a?design=1&sigma=2')
})
