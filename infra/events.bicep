// The second step: the event subscription. It can only be made once `func azure functionapp publish` has published
// the function, since Event Grid looks it up.
targetScope = 'resourceGroup'

@description('Name of the function app (output functionAppName of main.bicep).')
param functionAppName string

@description('Name of the system topic (output topicName of main.bicep).')
param topicName string

@description('Name of the storage account of the archives (output dataAccountName of main.bicep).')
param dataAccountName string

@description('Resource id of the identity that dead letters are written as (output topicIdentityId of main.bicep).')
param topicIdentityId string

@description('Hours for which an event is delivered again and again before it becomes a dead letter.')
@minValue(1)
@maxValue(24)
param deliverForHours int = 24

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: functionAppName
}

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: dataAccountName
}

resource topic 'Microsoft.EventGrid/systemTopics@2022-06-15' existing = {
  name: topicName
}

resource rawArchives 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2022-06-15' = {
  parent: topic
  name: 'raw-archives'
  properties: {
    // A plain destination: Event Grid fetches the function's key itself. Delivery by an identity does not exist for functions.
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: '${app.id}/functions/on_raw_archive'
        // Each event answers for itself: in a batch, one failure would bring all of them back.
        maxEventsPerBatch: 1
        preferredBatchSizeInKilobytes: 64
      }
    }
    // What the function's trigger reads (func.EventGridEvent).
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      subjectBeginsWith: '/blobServices/default/containers/raw/blobs/'
      subjectEndsWith: '.zip'
      isSubjectCaseSensitive: false
      // Operations after which a blob is whole: CreateFile announces an empty one.
      advancedFilters: [
        {
          operatorType: 'StringIn'
          key: 'data.api'
          values: [
            'PutBlob'
            'PutBlockList'
            'CopyBlob'
            'FlushWithClose'
            'SftpCommit'
          ]
        }
      ]
    }
    // The shorter of the two counts; with these it is the time.
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: deliverForHours * 60
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: topicIdentityId
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: account.id
          blobContainerName: 'dead-letter'
        }
      }
    }
  }
}

@description('Resource id of the event subscription.')
output eventSubscriptionId string = rawArchives.id
