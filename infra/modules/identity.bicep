// The identity that the app runs as. It is made before the app, so that its roles are there when the app starts.

@description('Begins the name of the identity.')
param name string

@description('Region of the identity.')
param location string

@description('Tags of the identity.')
param tags object

resource app 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-app'
  location: location
  tags: tags
}

@description('Resource id of the identity.')
output id string = app.id

@description('Client id of the identity.')
output clientId string = app.properties.clientId

@description('Principal id of the identity.')
output principalId string = app.properties.principalId
