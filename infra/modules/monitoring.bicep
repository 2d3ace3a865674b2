// Telemetry and notification: Log Analytics, Application Insights, an action group.

@description('Begins the names of the resources.')
param name string

@description('Region of the resources.')
param location string

@description('Tags of the resources.')
param tags object

@description('Days for which logs are kept; the first 31 cost nothing.')
param retentionDays int

@description('Gigabytes of logs a day after which ingestion stops until the next day, as a decimal; -1 for no limit.')
param dailyCapGb string

@description('Address that alerts are sent to; empty for none.')
param alertEmail string

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    features: { disableLocalAuth: true }
    workspaceCapping: { dailyQuotaGb: json(dailyCapGb) }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    // The connection string alone does not allow sending: that needs the role Monitoring Metrics Publisher.
    DisableLocalAuth: true
  }
}

var operators = [
  {
    name: 'operator'
    emailAddress: alertEmail
    useCommonAlertSchema: true
  }
]

resource actions 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-actions'
  location: 'Global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: take(name, 12)
    emailReceivers: empty(alertEmail) ? [] : operators
  }
}

@description('Resource id of the Log Analytics workspace.')
output workspaceId string = workspace.id

@description('Name of the Application Insights component.')
output insightsName string = insights.name

@description('Resource id of the Application Insights component.')
output insightsId string = insights.id

@description('Resource id of the action group that alerts go to.')
output actionGroupId string = actions.id
