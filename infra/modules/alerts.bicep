// What the operator is woken for. The queries are those of the workbook: they say how things are, the limits are here.

@description('Begins the names of the alert rules.')
param name string

@description('Region of the alert rules.')
param location string

@description('Tags of the alert rules.')
param tags object

@description('Resource id of the Log Analytics workspace that the queries ask.')
param workspaceId string

@description('Resource id of the action group that is told.')
param actionGroupId string

@description('Each source that is expected, as KQL: its name and its INTERVAL, such as: \'radar\', 10m, \'north\', 1h')
param expectedSources string

@description('Intervals without an archive after which a source counts as dry.')
param quietIntervals int

@description('Minutes after which nobody watches any more: a few runs of reconcile.')
param silentMinutes int

@description('Minutes that an archive may take from the server to its last image.')
param lagMinutes int

@description('Members of archives that may be refused in an hour, of one source and for one reason.')
param refusedMembers int

@description('How often the alert rules look: PT5M, PT15M, PT30M or PT1H. Azure asks more for shorter ones.')
param frequency string

var everySource = { name: 'Source', operator: 'Include', values: ['*'] }

// No window is shorter than the longest frequency: Azure refuses a rule that would not look at some of the time.
var alerts = [
  {
    id: 'no-archive'
    title: 'No archive from a source'
    todo: 'Nothing was copied for ${quietIntervals} intervals, or nothing is heard of the app at all. If "Nobody watches" fires too, see there. Else ask `imagefeed doctor` whether the server can be reached, and the server\'s owner whether it had files.'
    severity: 1
    query: replace(loadTextContent('../queries/no-archive.kql'), '\'example\', 10m', expectedSources)
    measure: 'Intervals'
    limit: quietIntervals
    window: 'P2D'
    dimensions: [everySource]
  }
  {
    id: 'heartbeat'
    title: 'Nobody watches'
    todo: 'reconcile has not run, or its telemetry does not arrive (is the daily cap of the logs reached?). Timers are known to stop after a deployment: open the function app in the portal, which wakes it, or restart it; then see whether reconcile runs. If the host itself is down, nobody takes messages either: `imagefeed doctor --app NAME --smoke` says whether both queue triggers listen; a 403 on a queue ends the whole host each time that it starts, so look at the app\'s DATA_STORAGE settings and roles first.'
    severity: 1
    query: loadTextContent('../queries/heartbeat.kql')
    measure: 'Minutes'
    limit: silentMinutes
    window: 'PT1H'
    dimensions: []
  }
  {
    id: 'not-running'
    title: 'A function does not run'
    todo: 'The host may be well, and this one function switched off by a setting that does not resolve: `imagefeed doctor --app NAME` and `infra/deploy.sh --check` ask the host for the reason. For a timer: restart the app. For a queue: the log line says which settings and roles to look at.'
    severity: 1
    query: loadTextContent('../queries/not-running.kql')
    measure: 'Looks'
    // A single look may fall into the start of a host.
    limit: 1
    window: 'PT1H'
    dimensions: [{ name: 'Function', operator: 'Include', values: ['*'] }]
  }
  {
    id: 'near-deletion'
    title: 'Files are near their deletion and not copied'
    todo: 'Half of their time on the server is over. `imagefeed ls SOURCE` says what stands in the way of each; raise MAX_CONNECTIONS if copying is merely slow.'
    severity: 1
    query: loadTextContent('../queries/near-deletion.kql')
    measure: 'Files'
    limit: 0
    window: 'PT1H'
    dimensions: [everySource]
  }
  {
    id: 'expired'
    title: 'Archives were deleted before they were copied'
    todo: 'They are lost unless the server\'s owner still has them: `imagefeed ls SOURCE` names them. Ask for them to be put there again.'
    severity: 0
    query: loadTextContent('../queries/failures.kql')
    measure: 'Archives'
    limit: 0
    window: 'PT1H'
    dimensions: [everySource, { name: 'State', operator: 'Include', values: ['expired'] }]
  }
  {
    id: 'failed'
    title: 'Archives failed or were refused'
    todo: 'The raw blobs are safe. `imagefeed ls SOURCE` gives the reasons; remove the cause, then `imagefeed replay --failed` or `--refused`.'
    severity: 2
    query: loadTextContent('../queries/failures.kql')
    measure: 'Archives'
    limit: 0
    window: 'PT1H'
    dimensions: [everySource, { name: 'State', operator: 'Include', values: ['failed', 'refused'] }]
  }
  {
    id: 'refusals'
    title: 'Members of archives were refused'
    todo: 'The other members are not affected. `imagefeed refused SOURCE` names each with its reason; raise a limit or fix the hook if the reason is one of these, then replay.'
    severity: 3
    query: loadTextContent('../queries/refusals.kql')
    measure: 'Members'
    limit: refusedMembers
    window: 'PT1H'
    dimensions: [everySource, { name: 'Reason', operator: 'Include', values: ['*'] }]
  }
  {
    id: 'given-up'
    title: 'Messages or events were given up'
    todo: 'reconcile takes them by itself; if this keeps firing, the workbook\'s table of errors says why calls fail.'
    severity: 2
    query: loadTextContent('../queries/given-up.kql')
    measure: 'Waiting'
    limit: 0
    window: 'PT1H'
    dimensions: [{ name: 'Place', operator: 'Include', values: ['*'] }]
  }
  {
    id: 'deliveries'
    title: 'Events are not delivered'
    todo: 'Event Grid cannot hand new archives to on_raw_archive; the workbook says what it was answered. Nothing is lost: what is delivered at no time goes to dead-letter, and reconcile drives what lies undone. See whether the app runs (`infra/deploy.sh --check`); single failures, as of an app that was just deployed, raise no alert.'
    severity: 2
    query: loadTextContent('../queries/deliveries.kql')
    measure: 'Failures'
    // One event that fails again and again is tried seven times in its first hour.
    limit: 5
    window: 'PT1H'
    dimensions: [{ name: 'Answer', operator: 'Include', values: ['*'] }]
  }
  {
    id: 'lost-results'
    title: 'Results were lost after they were made'
    todo: 'Who deletes them: a person, a lifecycle rule? What was made again is whole. What is beyond repair was lost after three repairs, or its raw blob is gone or in the archive tier: `imagefeed audit SOURCE` says what to do about each.'
    severity: 2
    query: loadTextContent('../queries/lost-results.kql')
    measure: 'Archives'
    limit: 0
    window: 'PT1H'
    dimensions: [everySource, { name: 'Outcome', operator: 'Include', values: ['*'] }]
  }
  {
    id: 'slow'
    title: 'Archives take long'
    todo: 'At the first start this is expected: what lay on the server is old. Else see in the workbook whether the raw blobs are late (the server, MAX_CONNECTIONS) or the images (maximumInstances, BATCH_BYTES).'
    severity: 2
    query: loadTextContent('../queries/slowest.kql')
    measure: 'Longest'
    limit: lagMinutes
    window: 'PT1H'
    dimensions: [everySource, { name: 'Until', operator: 'Include', values: ['*'] }]
  }
]

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alert in alerts: {
    name: '${name}-${alert.id}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}: ${alert.title}'
      description: alert.todo
      severity: alert.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: frequency
      windowSize: alert.window
      // Resolves by itself when the cause is gone, and tells so.
      autoMitigate: true
      // A new workspace does not know the tables before the app's first telemetry.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: alert.query
            metricMeasureColumn: alert.measure
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: alert.limit
            dimensions: alert.dimensions
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [actionGroupId] }
    }
  }
]
