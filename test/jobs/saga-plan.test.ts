import t from 'tap'
import { plannedNode, plannedPaths, plannedSteps } from '../../lib/jobs/saga-plan.ts'
import { compileSaga } from '../../lib/saga/compile.ts'
import type { SagaInput, NoResults, SagaSteps } from '../../lib/saga/types.ts'

const plan = compileSaga({
  name: 'transcode',
  timeoutMs: 0,
  graceMs: 0,
  retry: { attempts: 3 },
  signalValidator: () => async (value) => value,
  steps: (s: SagaSteps<SagaInput, NoResults>) => s
    .step('upload', () => 1)
    .parallel('renditions', (g) => g.step('hd', () => 1).step('uhd', () => 2))
    .each('pages', () => [1, 2], { run: () => 1 })
    .sleep('cool-down', 1)
    .signal('approval')
})

t.test('the paths of a plan, in order', async (t) => {
  t.same(plannedPaths(plan), ['upload', 'renditions/hd', 'renditions/uhd', 'pages', 'cool-down', 'approval'])
  t.same(plannedSteps(plan).map(({ path }) => path), ['upload', 'renditions/hd', 'renditions/uhd', 'pages'])
})

t.test('what stands under a path: a node, a step of a group, or the step of each item', async (t) => {
  const kinds: ReadonlyArray<readonly [path: string, kind: string | undefined]> = [
    ['upload', 'step'], ['renditions', 'parallel'], ['renditions/hd', 'step'], ['pages', 'each'], ['pages/7', 'step'],
    ['cool-down', 'sleep'], ['approval', 'signal'],
    ['renditions/4k', undefined], ['upload/0', undefined], ['page', undefined], ['', undefined]
  ]
  for (const [path, kind] of kinds) t.equal(plannedNode(plan, path)?.kind, kind, path)
})
