// Alert rules. They use the workbook's queries, which return the measurements; the limits are set here.

@description('Begins the names of the alert rules.')
param name string

@description('Region of the alert rules.')
param location string

@description('Tags of the alert rules.')
param tags object

@description('Resource id of the Log Analytics workspace that the queries ask.')
param workspaceId string

@description('Resource id of the action group that is notified.')
param actionGroupId string

@description('Each source that is expected, as KQL: its name and its INTERVAL, such as: \'radar\', 10m, \'north\', 1h')
param expectedSources string

@description('Intervals without an archive after which an alert fires.')
param quietIntervals int

@description('Minutes without a run of reconcile after which an alert fires: a few times its schedule.')
param silentMinutes int

@description('Minutes that an archive may take from the server to its last image.')
param lagMinutes int

@description('Members of archives that may be refused in an hour, of one source and for one reason.')
param refusedMembers int

@description('How often the alert rules are evaluated: PT5M, PT15M, PT30M or PT1H. Shorter intervals cost more.')
param frequency string

var everySource = { name: 'Source', operator: 'Include', values: ['*'] }

// No window is shorter than the longest frequency, because Azure refuses a rule that leaves gaps in time.
var alerts = [
  {
    id: 'no-archive'
    title: 'No archive from a source'
    todo: 'Nothing was copied for ${quietIntervals} intervals, or the app sends no telemetry. If "Reconcile does not run" fires too, follow that alert first. Otherwise check with `imagefeed doctor` whether the server can be reached, and ask the server\'s owner whether it had files.'
    severity: 1
    query: replace(loadTextContent('../queries/no-archive.kql'), '\'example\', 10m', expectedSources)
    measure: 'Intervals'
    limit: quietIntervals
    window: 'P2D'
    dimensions: [everySource]
  }
  {
    id: 'heartbeat'
    title: 'Reconcile does not run'
    todo: 'reconcile has not run, or its telemetry does not arrive (check whether the daily cap of the logs is reached). Timers are known to stop after a deployment: open the function app in the portal, which starts it, or restart it; then check whether reconcile runs. If the host itself is down, no messages are processed either: `imagefeed doctor --app NAME --smoke` reports whether both queue triggers listen. A 403 on a queue stops the whole host at each start, so check the app\'s DATA_STORAGE settings and roles first.'
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
    todo: 'The host may work while one function is disabled by a setting that does not resolve: `imagefeed doctor --app NAME` and `infra/deploy.sh --check` show the reason that the host reports. For a timer: restart the app. For a queue: the log line names the settings and roles to check.'
    severity: 1
    query: loadTextContent('../queries/not-running.kql')
    measure: 'Looks'
    // A single evaluation may coincide with the start of a host.
    limit: 1
    window: 'PT1H'
    dimensions: [{ name: 'Function', operator: 'Include', values: ['*'] }]
  }
  {
    id: 'near-deletion'
    title: 'Files are near their deletion and not copied'
    todo: 'Half of their time on the server is over. `imagefeed ls SOURCE` shows why each is not copied; raise MAX_CONNECTIONS if copying is only slow.'
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
    todo: 'They are lost unless the server\'s owner still has them. `imagefeed ls SOURCE` lists them; ask the owner to upload them again.'
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
    todo: 'reconcile processes them again by itself. If this alert keeps firing, the workbook\'s table of errors shows why calls fail.'
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
    todo: 'Event Grid cannot deliver events of new archives to on_raw_archive; the workbook shows the answers that it got. Nothing is lost: undelivered events go to the container dead-letter, and reconcile starts unprocessed archives again. Check whether the app runs (`infra/deploy.sh --check`). Single failures, such as just after a deployment, raise no alert.'
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
    todo: 'Find out whether a person or a lifecycle rule deletes them. Repaired archives are complete. An archive cannot be repaired if its results were lost again after three repairs, or if its raw blob is gone or in the archive tier: `imagefeed audit SOURCE` says what to do about each.'
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
    todo: 'At the first start this is expected, because the files on the server are old. Otherwise check in the workbook whether the raw blobs are late (the server, MAX_CONNECTIONS) or the images (maximumInstances, BATCH_BYTES).'
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
      // The alert resolves by itself when the cause is gone, and notifies.
      autoMitigate: true
      // A new workspace has no such tables before the app's first telemetry.
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
