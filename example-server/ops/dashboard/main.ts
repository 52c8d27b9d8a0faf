/** `npm run dashboard`: writes the Grafana dashboard and the alert rules that are made from the metric catalogue. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { rulesText } from '../rules/metric-rules.ts'
import { dashboardText } from './dashboard.ts'

const FILES = {
  'grafana/dashboards/async-endpoints.json': dashboardText(),
  'prometheus/rules/metrics.yml': rulesText()
}

// Seen from dist/example-server/ops/dashboard.
const ops = new URL('../../../../example-server/ops/', import.meta.url)
for (const [path, text] of Object.entries(FILES)) {
  const file = fileURLToPath(new URL(path, ops))
  writeFileSync(file, text)
  process.stdout.write(`${file}\n`)
}
