/** The words of the server, as servers of several versions say them. */
import t from 'tap'
import { serverCode } from '../../lib/stores/bullmq/errors.ts'

t.test('the word of a refusal is found wherever it stands', async (t) => {
  const script = '(call to f_0123456789abcdef): @user_script:9: @user_script: 9:'
  const texts: ReadonlyArray<readonly [text: string, code: string]> = [
    ["READONLY You can't write against a read only replica. script: 0123, on @user_script:3.", 'READONLY'],
    [`ERR Error running script ${script} -READONLY You can't write against a read only replica.`, 'READONLY'],
    ["@user_script: 9: -READONLY You can't write against a read only replica.", 'READONLY'],
    [`ERR Error running script ${script} -MISCONF Redis is configured to save RDB snapshots`, 'MISCONF'],
    [`ERR Error running script ${script} -NOREPLICAS Not enough good replicas to write.`, 'NOREPLICAS'],
    ["@user_script: 9: -OOM command not allowed when used memory > 'maxmemory'.", 'OOM'],
    [`ERR Error running script ${script} -NOPERM The user executing the script can't run this command`, 'NOPERM'],
    ["ERR The user executing the script can't run this command or subcommand script: 88, on @user_script:1.", 'NOPERM'],
    ['LOADING Redis is loading the dataset in memory', 'LOADING'],
    ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", 'MASTERDOWN'],
    ['Too many Cluster redirections. Last error: ReplyError: CLUSTERDOWN The cluster is down', 'CLUSTERDOWN'],
    ['UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)', 'UNBLOCKED'],
    ['ERR unknown command', 'ERR'],
    [`ERR Error running script ${script} ERR nothing known`, 'ERR'],
    ['Command timed out', 'ETIMEDOUT']
  ]
  for (const [text, code] of texts) t.equal(serverCode(new Error(text)), code, text)
  t.equal(serverCode(Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }) })), 'ECONNREFUSED')
})
