/** For the tests of applications and stores: a clock to move, metrics that record, and the rules of a store as a test suite. */
export { createContext, type Context, type Ids } from '../core/context.ts'
export { FakeClock, type FakeClockOptions } from './fake-clock.ts'
export { exerciseJobStore, type ConformanceTiming, type ExerciseJobStoreOptions, type NewStoreOptions, type StoreUnderTest } from './exercise-job-store.ts'
export { recordingMetrics, type RecordedMetric, type RecordingMetrics, type RecordingWaitOptions } from './recording-metrics.ts'
