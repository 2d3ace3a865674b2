// The system topic: the storage account's own events. The subscription to them is the second step, events.bicep.

@description('Name of the system topic.')
@minLength(3)
@maxLength(50)
param topicName string

@description('Region of the system topic: that of its storage account.')
param location string

@description('Tags of the system topic.')
param tags object

@description('Resource id of the storage account whose events these are.')
param storageAccountId string

@description('Resource id of the Log Analytics workspace that logs failed deliveries.')
param workspaceId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topicName
  location: location
  tags: tags
  // System-assigned: a storage firewall does not let in a user-assigned identity of a topic.
  identity: { type: 'SystemAssigned' }
  properties: {
    source: storageAccountId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

// One line for each try that failed: which answer the function gave.
resource failures 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: topic
  name: 'failures'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [{ category: 'DeliveryFailures', enabled: true }]
  }
}

@description('Name of the system topic.')
output name string = topic.name

@description('Principal id of the identity that dead letters are written as.')
output principalId string = topic.identity.principalId
