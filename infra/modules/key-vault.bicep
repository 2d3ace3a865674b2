// The vault of passwords and private keys of the sources. Their values never pass through Bicep: it knows their names only.

@description('Name of the key vault: 3 to 24 letters, digits and hyphens.')
@minLength(3)
@maxLength(24)
param vaultName string

@description('Region of the key vault.')
param location string

@description('Tags of the key vault.')
param tags object

@description('Resource id of the Log Analytics workspace that logs reads and changes of secrets.')
param workspaceId string

@description('True closes the vault to all networks but its private endpoint, trusted services and the allowed addresses.')
param closed bool

@description('Public IPv4 addresses that reach the vault although it is closed.')
param allowedAddresses array

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' = {
  // checkov:skip=CKV_AZURE_109:closed to all networks by the parameter privateEndpoints
  name: vaultName
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    // With purge protection the name of a deleted vault stays taken for this long, so the shortest time that there is.
    softDeleteRetentionInDays: 7
    enablePurgeProtection: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: closed ? 'Deny' : 'Allow'
      ipRules: [for address in allowedAddresses: { value: address }]
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'audit'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [{ category: 'AuditEvent', enabled: true }]
  }
}

@description('Name of the key vault.')
output name string = vault.name

@description('Resource id of the key vault.')
output id string = vault.id
