// The second step: the event subscription. It can only be made once `func azure functionapp publish` has published
// the function, since Event Grid looks it up.
targetScope = 'resourceGroup'

@description('Name of the function app (output functionAppName of main.bicep).')
param functionAppName string

@description('Name of the storage account of the archives (output dataAccountName of main.bicep).')
param dataAccountName string

@description('Name of the system topic (output topicName of main.bicep).')
param topicName string

@description('Resource group of the system topic (output topicGroup of main.bicep).')
param topicGroup string

@description('Principal id of the system-assigned identity of the topic, which dead letters are written as (output topicPrincipalId of main.bicep, or that of an existing topic); empty for no dead letters.')
param topicPrincipalId string

@description('Hours for which an event is delivered again and again before it becomes a dead letter.')
@minValue(1)
@maxValue(24)
param deliverForHours int = 24

var deadLetters = !empty(topicPrincipalId)

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionAppName
}

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: dataAccountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' existing = {
  parent: account
  name: 'default'
}

resource deadLetterContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' existing = {
  parent: blobs
  name: 'dead-letter'
}

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var contributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe' // Storage Blob Data Contributor

resource topicDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (deadLetters) {
  scope: deadLetterContainer
  name: guid(deadLetterContainer.id, topicPrincipalId, contributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
    principalId: topicPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// In the group of the topic, which an existing topic need not share with the app.
module subscription 'modules/event-subscription.bicep' = {
  name: '${functionAppName}-events'
  scope: resourceGroup(topicGroup)
  params: {
    topicName: topicName
    functionId: '${app.id}/functions/on_raw_archive'
    deadLetterAccountId: deadLetters ? account.id : ''
    deadLetterContainer: deadLetterContainer.name
    deliverForHours: deliverForHours
  }
  dependsOn: [topicDeadLetters]
}

@description('Resource id of the event subscription.')
output eventSubscriptionId string = subscription.outputs.id
