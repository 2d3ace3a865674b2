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

@description('Resource id of the identity that dead letters are written as.')
param identityId string

resource topic 'Microsoft.EventGrid/systemTopics@2022-06-15' = {
  name: topicName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    source: storageAccountId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

@description('Name of the system topic.')
output name string = topic.name
