// Everything but the event subscription, which needs the published function and is the second step: events.bicep.
//
// The scope is a resource group, which the deploy script makes. So a deployment needs rights only in that group, and
// deleting the group deletes everything.
targetScope = 'resourceGroup'

@description('Prefix of the names of all resources: 2 to 10 lower-case letters and digits, a letter first.')
@minLength(2)
@maxLength(10)
param name string = 'images'

@description('Region of all resources; it must offer Flex Consumption (az functionapp list-flexconsumption-locations).')
param location string = resourceGroup().location

@description('Tags of all resources.')
param tags object = {}

@description('Settings of the sources, SOURCES__<NAME>__<SETTING>, all as text, except the secret ones.')
param sourceSettings object

@description('Secret settings of the sources, SOURCES__<NAME>__PASSWORD, __PRIVATE_KEY and __PASSPHRASE, each with the name of the secret in the key vault that holds its value.')
param sourceSecretNames object = {}

@description('Any other app settings (docs/settings.md), all as text; all others have the defaults of that page. Settings that Flex Consumption does not accept or that this template sets are refused.')
param appSettings object = {}

@description('When sources are polled: NCRONTAB with seconds, UTC.')
@minLength(1)
param pollSchedule string = '*/30 * * * * *'

@description('When reconcile looks for unfinished work and starts it again: NCRONTAB with seconds, UTC.')
@minLength(1)
param reconcileSchedule string = '0 */5 * * * *'

@description('Memory of an instance in megabytes. Decoding an image at LIMIT_PIXELS takes up to 1.2 GB, so 512 needs a lower limit. The number of cores follows from it: a quarter, one or two.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Maximum instances of each function, 1 to 1000; every function scales by itself. All apps of a subscription and region share 250 cores; ask Azure for more.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Instances of on_raw_archive that are always ready; 0 costs nothing at rest, but a cold app may be too late for the first delivery of an event, and the next comes 10 seconds later or more.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 1

@description('Redundancy of the archives and images; a region without availability zones does not offer ZRS. The account of the functions host is zone-redundant where this one is, else local.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS', 'Standard_RAGRS', 'Standard_RAGZRS'])
param storageRedundancy string = 'Standard_ZRS'

@description('True makes the storage account a Data Lake (Gen2): folders are real and list fast. It cannot be changed later, and excludes versioning.')
param hierarchicalNamespace bool = false

@description('Days after which raw archives go to the cool tier; 0 for never.')
@minValue(0)
param rawCoolAfterDays int = 30

@description('Days after which raw archives go to the cold tier; 0 for never.')
@minValue(0)
param rawColdAfterDays int = 90

@description('Days without a change after which raw archives go to the archive tier; 0 for never. From there they take hours to come back. Accounts with zone redundancy have no archive tier: Standard_LRS, Standard_GRS and Standard_RAGRS have.')
@minValue(0)
param rawArchiveAfterDays int = 0

@description('Days for which deleted blobs and containers can be undeleted.')
@minValue(1)
@maxValue(365)
param deletedRetentionDays int = 14

@description('Days for which previous versions of blobs are kept; those of source states for one day.')
@minValue(1)
param versionRetentionDays int = 30

@description('True prevents the deletion of the storage account of the archives until the lock is removed. Deploying it needs a right that only Owner and User Access Administrator have: Microsoft.Authorization/locks/write.')
param lockDataAccount bool = false

@description('Name of the system topic that the storage account of the archives already has (an account has at most one); empty to make one.')
param existingTopicName string = ''

@description('Resource group of the system topic existingTopicName; empty for this one.')
param existingTopicGroup string = ''

@description('Object ids of the users, groups or service principals that operate the system: they run its commands and set passwords.')
param operatorIds array = []

@description('Object ids of the users, groups or service principals that read images.')
param readerIds array = []

@description('Address that alerts are sent to; empty for none.')
param alertEmail string = ''

@description('Monthly budget of this group, in the currency of the bill. alertEmail gets a mail at 80 percent of it, and if the forecast for the month exceeds it. It stops nothing. 0 for no budget.')
@minValue(0)
param monthlyBudget int = 0

@description('First day of the month in which the budget is made, such as 2026-12-01. Leave it as it is afterwards: Azure accepts only the current month for a new budget, and no other date for an existing one.')
param budgetStart string = ''

@description('How often the alert rules are evaluated; shorter intervals cost more.')
@allowed(['PT5M', 'PT15M', 'PT30M', 'PT1H'])
param alertFrequency string = 'PT15M'

@description('Intervals of a source without an archive that raise an alert. Alerts look back two days at most: where intervals are so long that fewer fit in, it fires after two days.')
@minValue(1)
param alertQuietIntervals int = 3

@description('Minutes without a run of reconcile that raise an alert: a few times its schedule.')
@minValue(1)
param alertSilentMinutes int = 20

@description('Minutes from the server to the last image, or to the raw blob, over which an archive raises an alert.')
@minValue(1)
param alertLagMinutes int = 30

@description('Refused members in an hour, of one source and for one reason, over which there is an alert.')
@minValue(0)
param alertRefusedMembers int = 0

@description('Days for which logs are kept; the first 31 cost nothing.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs a day after which ingestion stops until the next day, as a decimal; -1 for no limit. Data that is not ingested raises no alert except the one on missing data.')
param logDailyCapGb string = '1'

@description('True gives the app one fixed public address for all that it sends, for servers that allow-list addresses: a network with a NAT gateway.')
param fixedOutboundAddress bool = false

@description('True puts storage and key vault behind private endpoints and closes them, and the app, to all others except Event Grid and allowedAddresses. It includes a fixed outbound address.')
param privateEndpoints bool = false

@description('Address space of the network, if there is one: a /24 or larger.')
param addressSpace string = '10.10.0.0/24'

@description('Public IPv4 addresses that are let in although private endpoints close everything. The deploying machine\'s address must be among them.')
param allowedAddresses array = []

var suffix = take(uniqueString(resourceGroup().id, name), 8)
var sourceUrls = filter(objectKeys(sourceSettings), setting => endsWith(setting, '__URL'))
var sources = map(sourceUrls, setting => split(setting, '__')[1])
// The rule does not know the hours of ACTIVE: for a source that has them it fires after two days, as for long intervals.
var withHours = filter(sources, source => !empty(sourceSettings[?'SOURCES__${source}__ACTIVE'] ?? ''))
var intervals = toObject(
  sources,
  source => source,
  source => contains(withHours, source) ? '1d' : sourceSettings[?'SOURCES__${source}__INTERVAL'] ?? '10m'
)
// Each source and its INTERVAL, as the alert on missing archives expects them: 'radar', 10m, 'north', 1h
var expected = map(sources, source => '\'${toLower(replace(source, '_', '-'))}\', ${intervals[source]}')
var expectedSources = join(expected, ', ')
var ownTopic = empty(existingTopicName)
// Without duplicates, because Azure refuses a resource that is defined twice.
var addresses = union(allowedAddresses, [])
var withNetwork = fixedOutboundAddress || privateEndpoints

// App settings that Flex Consumption refuses or ignores: https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
var deprecated = [
  'ENABLE_ORYX_BUILD'
  'FUNCTIONS_EXTENSION_VERSION'
  'FUNCTIONS_MAX_HTTP_CONCURRENCY'
  'FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED'
  'FUNCTIONS_WORKER_PROCESS_COUNT'
  'FUNCTIONS_WORKER_RUNTIME'
  'FUNCTIONS_WORKER_RUNTIME_VERSION'
  'SCM_DO_BUILD_DURING_DEPLOYMENT'
  'TZ'
  'WEBSITE_CONTENTAZUREFILECONNECTIONSTRING'
  'WEBSITE_CONTENTOVERVNET'
  'WEBSITE_CONTENTSHARE'
  'WEBSITE_DNS_SERVER'
  'WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT'
  'WEBSITE_NODE_DEFAULT_VERSION'
  'WEBSITE_RUN_FROM_PACKAGE'
  'WEBSITE_SKIP_CONTENTSHARE_VALIDATION'
  'WEBSITE_TIME_ZONE'
  'WEBSITE_VNET_ROUTE_ALL'
]
// App settings that function-app.bicep decides, up to `__`, and the twin that the host would read instead of
// DATA_STORAGE.
var decided = [
  'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
  'APPLICATIONINSIGHTS_CONNECTION_STRING'
  'AZUREWEBJOBSDATA_STORAGE'
  'AZUREWEBJOBSSTORAGE'
  'DATA_STORAGE'
]
var given = objectKeys(union(appSettings, sourceSettings, sourceSecretNames))
var refused = concat(
  filter(given, setting => contains(deprecated, toUpper(setting))),
  filter(given, setting => contains(decided, split(toUpper(setting), '__')[0]))
)
// Parameters that a service would refuse during the deployment, or that would break the app.
var rules = [
  {
    broken: name != toLower(name) || contains(name, '-') || contains(name, '_')
    message: 'name must be lower-case letters and digits'
  }
  {
    broken: rawArchiveAfterDays > 0 && contains(storageRedundancy, 'ZRS')
    message: 'rawArchiveAfterDays must be 0 with storageRedundancy ${storageRedundancy}: accounts with zone redundancy have no archive tier. Choose Standard_LRS, Standard_GRS or Standard_RAGRS, or leave raw archives in the cold tier'
  }
  {
    broken: alwaysReadyInstances > maximumInstances
    message: 'alwaysReadyInstances (${alwaysReadyInstances}) must not be more than maximumInstances (${maximumInstances})'
  }
  {
    broken: !empty(refused)
    message: 'appSettings must not hold ${join(refused, ', ')}: Flex Consumption does not accept it, or this template sets it'
  }
  {
    broken: monthlyBudget > 0 && (length(budgetStart) != 10 || !endsWith(budgetStart, '-01'))
    message: 'monthlyBudget needs budgetStart: the first day of the current month, as 2026-12-01. Leave it as it is afterwards'
  }
  {
    broken: monthlyBudget > 0 && empty(alertEmail)
    message: 'monthlyBudget needs alertEmail, the address that is notified'
  }
]
var problems = map(filter(rules, rule => rule.broken), rule => rule.message)

module identity 'modules/identity.bicep' = {
  // Names are evaluated before anything is made, so the problems are reported before the deployment begins.
  name: empty(problems) ? 'identity' : fail(join(problems, '. '))
  params: {
    name: name
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    accountName: '${name}data${suffix}'
    location: location
    tags: tags
    redundancy: storageRedundancy
    hierarchicalNamespace: hierarchicalNamespace
    rawCoolAfterDays: rawCoolAfterDays
    rawColdAfterDays: rawColdAfterDays
    rawArchiveAfterDays: rawArchiveAfterDays
    deletedRetentionDays: deletedRetentionDays
    versionRetentionDays: versionRetentionDays
    locked: lockDataAccount
    closed: privateEndpoints
    allowedAddresses: addresses
  }
}

module hostStorage 'modules/host-storage.bicep' = {
  name: 'host-storage'
  params: {
    accountName: '${name}host${suffix}'
    location: location
    tags: tags
    redundancy: contains(storageRedundancy, 'ZRS') ? 'Standard_ZRS' : 'Standard_LRS'
    deletedRetentionDays: deletedRetentionDays
    closed: privateEndpoints
    allowedAddresses: addresses
  }
}

module keyVault 'modules/key-vault.bicep' = {
  name: 'key-vault'
  params: {
    vaultName: '${name}-kv-${suffix}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    closed: privateEndpoints
    allowedAddresses: addresses
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: name
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
    alertEmail: alertEmail
  }
}

module budget 'modules/budget.bicep' = if (monthlyBudget > 0) {
  name: 'budget'
  params: {
    name: name
    amount: monthlyBudget
    start: budgetStart
    email: alertEmail
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
    expectedSources: expectedSources
    quietIntervals: alertQuietIntervals
    silentMinutes: alertSilentMinutes
    lagMinutes: alertLagMinutes
    refusedMembers: alertRefusedMembers
    frequency: alertFrequency
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    expectedSources: expectedSources
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    appPrincipalId: identity.outputs.principalId
    hostAccountName: hostStorage.outputs.name
    dataAccountName: storage.outputs.name
    containerNames: storage.outputs.containers
    vaultName: keyVault.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module people 'modules/people.bicep' = {
  name: 'people'
  params: {
    operatorIds: union(operatorIds, [])
    readerIds: union(readerIds, [])
    dataAccountName: storage.outputs.name
    vaultName: keyVault.outputs.name
  }
}

module network 'modules/network.bicep' = if (withNetwork) {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
    addressSpace: addressSpace
  }
}

module endpoints 'modules/private-endpoints.bicep' = if (privateEndpoints) {
  name: 'private-endpoints'
  params: {
    name: name
    location: location
    tags: tags
    networkId: network!.outputs.networkId
    subnetId: network!.outputs.endpointsSubnetId
    dataAccountId: storage.outputs.id
    hostAccountId: hostStorage.outputs.id
    vaultId: keyVault.outputs.id
  }
}

module functionApp 'modules/function-app.bicep' = {
  name: 'function-app'
  params: {
    appName: '${name}-${suffix}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    hostAccountName: hostStorage.outputs.name
    deploymentUri: hostStorage.outputs.deploymentUri
    dataAccountName: storage.outputs.name
    vaultName: keyVault.outputs.name
    insightsName: monitoring.outputs.insightsName
    subnetId: withNetwork ? network!.outputs.functionsSubnetId : ''
    closed: privateEndpoints
    allowedAddresses: addresses
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    alwaysReadyInstances: alwaysReadyInstances
    pollSchedule: pollSchedule
    reconcileSchedule: reconcileSchedule
    sourceSettings: sourceSettings
    sourceSecretNames: sourceSecretNames
    appSettings: appSettings
  }
  // The app reads its package and its secrets when it starts, so roles and private DNS names must exist before.
  dependsOn: [roles, endpoints]
}

module topic 'modules/topic.bicep' = if (ownTopic) {
  name: 'topic'
  params: {
    topicName: '${name}-events'
    location: location
    tags: tags
    storageAccountId: storage.outputs.id
    workspaceId: monitoring.outputs.workspaceId
  }
}

@description('Name of the function app.')
output functionAppName string = functionApp.outputs.name

@description('Public host name of the function app.')
output functionAppHostName string = functionApp.outputs.hostName

@description('Name of the storage account of the archives.')
output dataAccountName string = storage.outputs.name

@description('Name of the storage account of the functions host.')
output hostAccountName string = hostStorage.outputs.name

@description('Name of the key vault.')
output keyVaultName string = keyVault.outputs.name

@description('Names of the secrets that the key vault must hold.')
output secretNames array = map(items(sourceSecretNames), setting => setting.value)

@description('Name of the system topic.')
output topicName string = ownTopic ? topic!.outputs.name : existingTopicName

@description('Resource group of the system topic.')
output topicGroup string = ownTopic || empty(existingTopicGroup) ? resourceGroup().name : existingTopicGroup

@description('Principal id of the identity that the system topic of this template writes dead letters as; empty for an existing topic.')
output topicPrincipalId string = ownTopic ? topic!.outputs.principalId : ''

@description('Name of the lock that keeps the storage account of the archives from being deleted; empty for none.')
output dataAccountLock string = storage.outputs.lockName

@description('Name of the Application Insights component.')
output insightsName string = monitoring.outputs.insightsName

@description('The fixed public address that the sources see; empty without a network.')
output outboundAddress string = withNetwork ? network!.outputs.outboundAddress : ''
