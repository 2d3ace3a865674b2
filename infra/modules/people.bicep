// Roles of people: operators inspect, replay and set passwords; readers read images and the ledger.

@description('Object ids of the users, groups or service principals that operate the system.')
param operatorIds array

@description('Object ids of the users, groups or service principals that read images.')
param readerIds array

@description('Name of the storage account of the archives.')
param dataAccountName string

@description('Name of the key vault.')
param vaultName string

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  'Storage Queue Data Contributor': '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  'Storage Table Data Contributor': '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  'Key Vault Secrets Officer': 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
  'Storage Blob Data Reader': '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  'Storage Table Data Reader': '76199698-9eea-4c19-bc75-cec21354c6b6'
}
var definitions = toObject(
  items(roles),
  role => role.key,
  role => subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
)

resource dataAccount 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: dataAccountName
}

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' existing = {
  name: vaultName
}

resource operatorBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in operatorIds: {
    scope: dataAccount
    name: guid(dataAccount.id, id, roles['Storage Blob Data Contributor'])
    properties: {
      roleDefinitionId: definitions['Storage Blob Data Contributor']
      principalId: id
    }
  }
]

resource operatorQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in operatorIds: {
    scope: dataAccount
    name: guid(dataAccount.id, id, roles['Storage Queue Data Contributor'])
    properties: {
      roleDefinitionId: definitions['Storage Queue Data Contributor']
      principalId: id
    }
  }
]

resource operatorTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in operatorIds: {
    scope: dataAccount
    name: guid(dataAccount.id, id, roles['Storage Table Data Contributor'])
    properties: {
      roleDefinitionId: definitions['Storage Table Data Contributor']
      principalId: id
    }
  }
]

resource operatorSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in operatorIds: {
    scope: vault
    name: guid(vault.id, id, roles['Key Vault Secrets Officer'])
    properties: {
      roleDefinitionId: definitions['Key Vault Secrets Officer']
      principalId: id
    }
  }
]

resource readerBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in readerIds: {
    scope: dataAccount
    name: guid(dataAccount.id, id, roles['Storage Blob Data Reader'])
    properties: {
      roleDefinitionId: definitions['Storage Blob Data Reader']
      principalId: id
    }
  }
]

resource readerTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in readerIds: {
    scope: dataAccount
    name: guid(dataAccount.id, id, roles['Storage Table Data Reader'])
    properties: {
      roleDefinitionId: definitions['Storage Table Data Reader']
      principalId: id
    }
  }
]
