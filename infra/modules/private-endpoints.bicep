// Private endpoints of both storage accounts and the key vault, and the zones that make their names resolve to them.

@description('Begins the names of the resources.')
param name string

@description('Region of the private endpoints.')
param location string

@description('Tags of the resources.')
param tags object

@description('Resource id of the network that the names are resolved in.')
param networkId string

@description('Resource id of the subnet of the private endpoints.')
param subnetId string

@description('Resource id of the storage account of the archives.')
param dataAccountId string

@description('Resource id of the storage account of the functions host.')
param hostAccountId string

@description('Resource id of the key vault.')
param vaultId string

var suffix = environment().suffixes.storage
var zoneNames = [
  'privatelink.blob.${suffix}'
  'privatelink.queue.${suffix}'
  'privatelink.table.${suffix}'
  'privatelink.vaultcore.azure.net'
]
// `zone` is the position in zoneNames. The host keeps no queues of its own, so its account needs no endpoint for them.
var endpoints = [
  { name: 'data-blob', target: dataAccountId, group: 'blob', zone: 0 }
  { name: 'data-queue', target: dataAccountId, group: 'queue', zone: 1 }
  { name: 'data-table', target: dataAccountId, group: 'table', zone: 2 }
  { name: 'host-blob', target: hostAccountId, group: 'blob', zone: 0 }
  { name: 'host-table', target: hostAccountId, group: 'table', zone: 2 }
  { name: 'vault', target: vaultId, group: 'vault', zone: 3 }
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, i) in zoneNames: {
    parent: zones[i]
    name: '${name}-network'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: networkId }
    }
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2026-03-01' = [
  for endpoint in endpoints: {
    name: '${name}-${endpoint.name}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      privateLinkServiceConnections: [
        {
          name: endpoint.name
          properties: {
            privateLinkServiceId: endpoint.target
            groupIds: [endpoint.group]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2026-03-01' = [
  for (endpoint, i) in endpoints: {
    parent: privateEndpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: endpoint.name
          properties: { privateDnsZoneId: zones[endpoint.zone].id }
        }
      ]
    }
  }
]
