// Roles of the app: the least role that works, on the smallest scope that makes a difference.

@description('Principal id of the identity that the app runs as.')
param appPrincipalId string

@description('Name of the storage account of the functions host.')
param hostAccountName string

@description('Name of the storage account of the archives.')
param dataAccountName string

@description('Names of the containers of the archives\' account.')
param containerNames array

@description('Name of the key vault.')
param vaultName string

@description('Name of the Application Insights component.')
param insightsName string

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  'Storage Blob Data Owner': 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  'Storage Queue Data Contributor': '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  'Storage Table Data Contributor': '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  'Monitoring Metrics Publisher': '3913510d-42f4-4e42-8a64-420c390055eb'
  'Key Vault Secrets User': '4633458b-17de-408a-b874-0445c86b69e6'
}
var definitions = toObject(
  items(roles),
  role => role.key,
  role => subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
)

resource hostAccount 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: hostAccountName
}

resource dataAccount 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: dataAccountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' existing = {
  parent: dataAccount
  name: 'default'
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' existing = [
  for container in containerNames: {
    parent: blobs
    name: container
  }
]

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' existing = {
  name: vaultName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

// The host makes containers and takes leases; it also reads the package from here.
resource hostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, appPrincipalId, roles['Storage Blob Data Owner'])
  properties: {
    roleDefinitionId: definitions['Storage Blob Data Owner']
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// Where the host keeps its diagnostic events.
resource hostTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, appPrincipalId, roles['Storage Table Data Contributor'])
  properties: {
    roleDefinitionId: definitions['Storage Table Data Contributor']
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource appContainers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (container, i) in containerNames: {
    scope: containers[i]
    name: guid(containers[i].id, appPrincipalId, roles['Storage Blob Data Contributor'])
    properties: {
      roleDefinitionId: definitions['Storage Blob Data Contributor']
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
    }
  }
]

// Queues and tables by the account: it has no others than the app's own. Contributor, since the smaller pair (Message
// Processor and Message Sender) may read and delete messages but not release one that failed, which takes an update.
resource appQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: dataAccount
  name: guid(dataAccount.id, appPrincipalId, roles['Storage Queue Data Contributor'])
  properties: {
    roleDefinitionId: definitions['Storage Queue Data Contributor']
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource appTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: dataAccount
  name: guid(dataAccount.id, appPrincipalId, roles['Storage Table Data Contributor'])
  properties: {
    roleDefinitionId: definitions['Storage Table Data Contributor']
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, appPrincipalId, roles['Monitoring Metrics Publisher'])
  properties: {
    roleDefinitionId: definitions['Monitoring Metrics Publisher']
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource appSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, appPrincipalId, roles['Key Vault Secrets User'])
  properties: {
    roleDefinitionId: definitions['Key Vault Secrets User']
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}
