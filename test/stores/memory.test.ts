import t from 'tap'
import { exerciseJobStore } from '../../lib/testing/exercise-job-store.ts'
import { LEASE_MS, memoryUnderTest } from '../conformance/memory-under-test.ts'

t.test('the memory store keeps the contract', async (t) => {
  exerciseJobStore({
    test: (name, run) => { t.test(name, run) },
    newStore: (settings) => memoryUnderTest(settings),
    timing: { leaseMs: LEASE_MS, shortMs: 200 }
  })
})
