// The two identities of the system: one that the app runs as, one that Event Grid dead-letters as.

@description('Begins the names of the identities.')
param name string

@description('Region of the identities.')
param location string

@description('Tags of the identities.')
param tags object

resource app 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-app'
  location: location
  tags: tags
}

resource topic 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-topic'
  location: location
  tags: tags
}

@description('Resource id of the identity that the app runs as.')
output appId string = app.id

@description('Client id of the identity that the app runs as.')
output appClientId string = app.properties.clientId

@description('Principal id of the identity that the app runs as.')
output appPrincipalId string = app.properties.principalId

@description('Resource id of the identity that Event Grid dead-letters as.')
output topicId string = topic.id

@description('Principal id of the identity that Event Grid dead-letters as.')
output topicPrincipalId string = topic.properties.principalId
