// The account of the data: raw archives, images, the ledger, and the queues between the functions.
//
// The functions host has an account of its own (host-storage.bicep), for four reasons: the host must own all blobs of
// its account, and here no role owns any; versions and soft delete would keep every renewal of the host's locks; this
// one may have a hierarchical namespace; and the host's requests do not count against this account's request limits.

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

@description('True makes it a Data Lake (Gen2): folders are real and list fast. It cannot be changed later, and excludes versioning.')
param hierarchicalNamespace bool

@description('Days after which raw archives go to the cool tier; 0 for never.')
param rawCoolAfterDays int

@description('Days after which raw archives go to the cold tier; 0 for never.')
param rawColdAfterDays int

@description('Days without a change after which raw archives go to the archive tier; 0 for never. Not with zone redundancy.')
param rawArchiveAfterDays int

@description('Days for which deleted blobs and containers can be undeleted.')
param deletedRetentionDays int

@description('Days for which previous versions of blobs are kept.')
param versionRetentionDays int

@description('True prevents the deletion of the account.')
param locked bool

@description('True closes the account to all networks but private endpoints, trusted services and the allowed addresses.')
param closed bool

@description('Public IPv4 addresses that reach the account although it is closed.')
param allowedAddresses array

var containerNames = [
  'raw'
  'processed'
  'state'
  'dead-letter'
]
var tableNames = [
  'archives'
  'batches'
  'images'
]
// The poison queues are made here too, so that checks find them empty instead of missing.
var queueNames = [
  'poll'
  'poll-poison'
  'batches'
  'batches-poison'
]

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  // checkov:skip=CKV_AZURE_35:closed to all networks by the parameter privateEndpoints
  // checkov:skip=CKV_AZURE_59:a firewall that is open to trusted services alone needs the public endpoint; Event Grid writes dead letters through it
  // checkov:skip=CKV_AZURE_206:redundancy is the parameter storageRedundancy
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
    isHnsEnabled: hierarchicalNamespace
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    // Never disabled altogether: as a trusted service Event Grid writes dead letters through the firewall, which lets in
    // the topic's system-assigned identity alone.
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: closed ? 'Deny' : 'Allow'
      ipRules: [for address in allowedAddresses: { action: 'Allow', value: address }]
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: !hierarchicalNamespace
    deleteRetentionPolicy: { enabled: true, days: deletedRetentionDays }
    containerDeleteRetentionPolicy: { enabled: true, days: deletedRetentionDays }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' = [
  for container in containerNames: {
    parent: blobs
    name: container
    properties: { publicAccess: 'None' }
  }
]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2026-06-01' = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2026-06-01' = [
  for table in tableNames: {
    parent: tableService
    name: table
  }
]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2026-06-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' = [
  for queue in queueNames: {
    parent: queueService
    name: queue
  }
]

// From the day of creation, since metadata that is set later counts as a modification.
var toCool = { tierToCool: { daysAfterCreationGreaterThan: rawCoolAfterDays } }
var toCold = { tierToCold: { daysAfterCreationGreaterThan: rawColdAfterDays } }
// A blob that was fetched out of the archive tier stays out of it for a week, so that it can be replayed. That condition
// goes with the day of the last modification alone.
var toArchive = {
  tierToArchive: {
    daysAfterModificationGreaterThan: rawArchiveAfterDays
    daysAfterLastTierChangeGreaterThan: 7
  }
}
var rawTiers = union(
  rawCoolAfterDays > 0 ? toCool : {},
  rawColdAfterDays > 0 ? toCold : {},
  rawArchiveAfterDays > 0 ? toArchive : {}
)
var rawRules = [
  {
    name: 'raw-tiers'
    enabled: true
    type: 'Lifecycle'
    definition: {
      filters: { blobTypes: ['blockBlob'], prefixMatch: ['raw/'] }
      actions: { baseBlob: rawTiers }
    }
  }
]
// Source states in `state` are written again and again: their versions go after a day.
var versionRules = [
  {
    name: 'previous-versions'
    enabled: true
    type: 'Lifecycle'
    definition: {
      filters: { blobTypes: ['blockBlob'], prefixMatch: ['raw/', 'processed/', 'dead-letter/'] }
      actions: { version: { delete: { daysAfterCreationGreaterThan: versionRetentionDays } } }
    }
  }
  {
    name: 'previous-states'
    enabled: true
    type: 'Lifecycle'
    definition: {
      filters: { blobTypes: ['blockBlob'], prefixMatch: ['state/'] }
      actions: { version: { delete: { daysAfterCreationGreaterThan: 1 } } }
    }
  }
]
var rules = concat(empty(rawTiers) ? [] : rawRules, hierarchicalNamespace ? [] : versionRules)

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2026-06-01' = if (!empty(rules)) {
  parent: account
  name: 'default'
  properties: { policy: { rules: rules } }
  dependsOn: [blobs]
}

var lockName = 'keep-archives'

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: account
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'The archives are in here. Removed by infra/deploy.sh --remove, after its question.'
  }
}

@description('Name of the storage account.')
output name string = account.name

@description('Resource id of the storage account.')
output id string = account.id

@description('Names of its containers.')
output containers array = containerNames

@description('Name of the lock that keeps it from being deleted; empty for none.')
output lockName string = locked ? lockName : ''
