// The account of the functions host: its locks and timers, and the package that the app runs from.

@description('Name of the storage account: 3 to 24 lower-case letters and digits.')
@minLength(3)
@maxLength(24)
param accountName string

@description('Region of the storage account.')
param location string

@description('Tags of the storage account.')
param tags object

@description('Redundancy of the storage account.')
param redundancy string

@description('Days for which deleted blobs and containers can be undeleted.')
param deletedRetentionDays int

@description('True closes the account to all networks but private endpoints, trusted services and the allowed addresses.')
param closed bool

@description('Public IPv4 addresses that reach the account although it is closed.')
param allowedAddresses array

var deploymentContainer = 'deployment'

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  // checkov:skip=CKV_AZURE_35:closed to all networks by the parameter privateEndpoints
  // checkov:skip=CKV_AZURE_59:a firewall that is open to trusted services and single addresses alone needs the public endpoint; deployment comes through it
  // checkov:skip=CKV_AZURE_206:redundancy follows the parameter storageRedundancy
  // checkov:skip=CKV_AZURE_43:the name is a parameter, which checkov cannot follow
  name: accountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: closed ? 'Deny' : 'Allow'
      ipRules: [for address in allowedAddresses: { action: 'Allow', value: address }]
    }
  }
}

// Soft delete protects the packages. No versions, because they would keep every renewal of a lock.
resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: deletedRetentionDays }
    containerDeleteRetentionPolicy: { enabled: true, days: deletedRetentionDays }
  }
}

resource deployment 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' = {
  parent: blobs
  name: deploymentContainer
  properties: { publicAccess: 'None' }
}

@description('Name of the storage account.')
output name string = account.name

@description('Resource id of the storage account.')
output id string = account.id

@description('Address of the container that the app is deployed from.')
output deploymentUri string = '${account.properties.primaryEndpoints.blob}${deployment.name}'
