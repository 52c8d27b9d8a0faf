/** `npm run dashboard`: writes grafana/dashboards/async-endpoints.json anew, from the table of instruments. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { dashboardText } from './dashboard.ts'

// Seen from dist/example-server/ops/dashboard.
const file = fileURLToPath(new URL('../../../../example-server/ops/grafana/dashboards/async-endpoints.json', import.meta.url))
writeFileSync(file, dashboardText())
process.stdout.write(`${file}\n`)
