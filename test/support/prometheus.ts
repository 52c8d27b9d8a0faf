/** `npm run validate` uses it as well. */
export * from '../../example-server/validate/support/prometheus.ts'
