// Fill this in. Passwords and keys do not belong here: name the secrets, and put their values into the key vault.
using './main.bicep'

param name = 'images'

// Every setting of a source can stand here (docs/settings.md); RADAR is a name of your own.
param sourceSettings = {
  SOURCES__RADAR__URL: 'sftp://user@host.example:22/outgoing'
  SOURCES__RADAR__HOST_KEY: 'ssh-ed25519 AAAA...'
}
param sourceSecretNames = {
  SOURCES__RADAR__PASSWORD: 'radar-password'
}

// Every other setting that is to differ from its default (docs/settings.md).
param appSettings = {
  PREPROCESS_WIDTH: '224'
  PREPROCESS_HEIGHT: '224'
}

param alertEmail = ''
// Your own object id: az ad signed-in-user show --query id --output tsv
param operatorIds = []
param readerIds = []

param storageRedundancy = 'Standard_ZRS'
param hierarchicalNamespace = false
// True for production: prevents deleting the archives' account by mistake. Only an Owner can deploy it.
param lockDataAccount = false

// For servers that allow-list addresses.
param fixedOutboundAddress = false
param privateEndpoints = false
