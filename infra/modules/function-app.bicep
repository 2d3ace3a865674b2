// The function app on its Flex Consumption plan, and every app setting that it needs.

@description('Name of the function app; it is also the beginning of its public host name.')
param appName string

@description('Region of the app and its plan.')
param location string

@description('Tags of the app and its plan.')
param tags object

@description('Resource id of the identity that the app runs as.')
param identityId string

@description('Client id of the identity that the app runs as.')
param identityClientId string

@description('Name of the storage account of the functions host.')
param hostAccountName string

@description('Address of the container that the app is deployed from.')
param deploymentUri string

@description('Name of the storage account of the archives.')
param dataAccountName string

@description('Name of the key vault.')
param vaultName string

@description('Name of the Application Insights component.')
param insightsName string

@description('Resource id of the subnet that the app sends from; empty for none.')
param subnetId string

@description('True closes the app to all but Event Grid, and its deployment site to all but the allowed addresses.')
param closed bool

@description('Public IPv4 addresses that reach the app and its deployment site although they are closed.')
param allowedAddresses array

@description('Memory of an instance in megabytes.')
param instanceMemoryMB int

@description('Instances of each function at most.')
param maximumInstances int

@description('Instances of on_raw_archive that are always ready.')
param alwaysReadyInstances int

@description('When sources are polled: NCRONTAB with seconds, UTC.')
param pollSchedule string

@description('When reconcile looks for unfinished work and starts it again: NCRONTAB with seconds, UTC.')
param reconcileSchedule string

@description('Settings of the sources, SOURCES__<NAME>__<SETTING>, except the secret ones.')
param sourceSettings object

@description('Secret settings of the sources: the setting\'s name and the name of the key vault\'s secret.')
param sourceSecretNames object

@description('Further app settings; those that are not given have the app\'s own defaults.')
param appSettings object

resource hostAccount 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: hostAccountName
}

resource dataAccount 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: dataAccountName
}

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' existing = {
  name: vaultName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225:a zone-redundant plan needs instances that are always ready in each zone; work that stopped with a zone is resumed in another one
  name: '${appName}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true }
}

var allowed = [
  for (address, i) in allowedAddresses: {
    name: 'operator-${i}'
    priority: 200 + i
    action: 'Allow'
    ipAddress: '${address}/32'
  }
]
// Public inbound stays open for Event Grid, which cannot reach a function through a private endpoint.
var fromEventGrid = [
  {
    name: 'event-grid'
    priority: 100
    action: 'Allow'
    tag: 'ServiceTag'
    ipAddress: 'AzureEventGrid'
  }
]

var alwaysReady = [
  {
    name: 'function:on_raw_archive'
    instanceCount: alwaysReadyInstances
  }
]

resource app 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_17:Event Grid calls without a client certificate; the function's key admits it
  // checkov:skip=CKV_AZURE_78:Flex Consumption has no FTP, and refuses ftpsState (ARM error 51021)
  // checkov:skip=CKV_AZURE_212:Flex Consumption scales by itself; alwaysReadyInstances is a parameter
  // checkov:skip=CKV_AZURE_213:Flex Consumption has no health check; alerts watch for missing data
  // checkov:skip=CKV_AZURE_222:Event Grid knows no private way to a function; the parameter privateEndpoints restricts inbound to it
  name: appName
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      // Runtime and version are set only here: Flex Consumption refuses FUNCTIONS_WORKER_RUNTIME and similar settings.
      runtime: { name: 'python', version: '3.13' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentUri
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReadyInstances == 0 ? [] : alwaysReady
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      ipSecurityRestrictions: closed ? concat(fromEventGrid, allowed) : []
      ipSecurityRestrictionsDefaultAction: closed ? 'Deny' : 'Allow'
      scmIpSecurityRestrictions: closed ? allowed : []
      scmIpSecurityRestrictionsDefaultAction: closed ? 'Deny' : 'Allow'
      scmIpSecurityRestrictionsUseMain: false
    }
  }
}

// Deployment by password is off; `func azure functionapp publish` uses the Azure CLI's login.
resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

// Can be overridden by appSettings.
var defaults = {
  // The triggers read these two themselves, so the app's own defaults do not reach them.
  POLL_SCHEDULE: pollSchedule
  RECONCILE_SCHEDULE: reconcileSchedule
  PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
  // Only our own log lines; otherwise the SDKs' lines are sent and paid for too.
  PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME: 'ingestion'
  // Every trace: the exporter's own default keeps one of a burst of a hundred.
  OTEL_TRACES_SAMPLER: 'microsoft.fixed_percentage'
  OTEL_TRACES_SAMPLER_ARG: '1.0'
  // A span for each call to storage would cost more than all other telemetry and is less useful.
  OTEL_PYTHON_DISABLED_INSTRUMENTATIONS: 'azure_sdk,requests,urllib,urllib3'
  // Spans of the host's own queue polling: 100,000 a day for each instance. Newer hosts leave them out.
  AZURE_TRACING_DISABLED: 'true'
  // The exporter's own counters of what it sent, which it would send too.
  APPLICATIONINSIGHTS_SDKSTATS_DISABLED: 'true'
}

// Settings that the rest of this template decides; overriding them would break the app. There must be no plain
// AzureWebJobsStorage beside these, not even an empty one.
var fixed = {
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityClientId}'
  AzureWebJobsStorage__blobServiceUri: hostAccount.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: hostAccount.properties.primaryEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: hostAccount.properties.primaryEndpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  DATA_STORAGE__blobServiceUri: dataAccount.properties.primaryEndpoints.blob
  DATA_STORAGE__queueServiceUri: dataAccount.properties.primaryEndpoints.queue
  DATA_STORAGE__tableServiceUri: dataAccount.properties.primaryEndpoints.table
  DATA_STORAGE__credential: 'managedidentity'
  DATA_STORAGE__clientId: identityClientId
}

// Without a version, so that a secret that changes is taken up within a day.
var secrets = toObject(
  items(sourceSecretNames),
  setting => setting.key,
  setting => '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${setting.value})'
)

// The app treats an empty setting as absent; triggers would use it as a schedule.
var given = toObject(
  filter(items(appSettings), setting => !empty(setting.value)),
  setting => setting.key,
  setting => setting.value
)

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  // checkov:skip=CKV_AZURE_13:these are app settings, not the site's configuration
  // checkov:skip=CKV_AZURE_63:these are app settings, not the site's configuration
  // checkov:skip=CKV_AZURE_65:these are app settings, not the site's configuration
  // checkov:skip=CKV_AZURE_66:these are app settings, not the site's configuration
  // checkov:skip=CKV_AZURE_80:these are app settings, not the site's configuration
  // checkov:skip=CKV_AZURE_88:these are app settings, not the site's configuration
  // checkov:skip=CKV_AZURE_222:these are app settings, not the site's configuration
  parent: app
  name: 'appsettings'
  properties: union(defaults, given, sourceSettings, secrets, fixed)
}

@description('Name of the function app.')
output name string = app.name

@description('Public host name of the function app.')
output hostName string = app.properties.defaultHostName
