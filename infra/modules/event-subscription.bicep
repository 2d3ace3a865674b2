// The event subscription: complete raw archives. It is a child of the system topic, in the topic's group.

@description('Name of the system topic.')
param topicName string

@description('Resource id of the function that events are delivered to.')
param functionId string

@description('Resource id of the storage account of dead letters; empty for no dead letters.')
param deadLetterAccountId string

@description('Name of the container of dead letters.')
param deadLetterContainer string

@description('Hours for which an event is delivered again and again before it becomes a dead letter.')
param deliverForHours int

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

// As the topic's own identity: the only one that a storage firewall lets in.
var deadLetters = {
  identity: { type: 'SystemAssigned' }
  deadLetterDestination: {
    endpointType: 'StorageBlob'
    properties: {
      resourceId: deadLetterAccountId
      blobContainerName: deadLetterContainer
    }
  }
}

resource rawArchives 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: 'raw-archives'
  properties: {
    // A plain destination: Event Grid fetches the function's key itself. Delivery by an identity does not exist for functions.
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: functionId
        // One event per request, because in a batch one failure would make all of them be delivered again.
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
      // Operations that end with a whole blob: CreateFile announces an empty one. With a hierarchical namespace CopyBlob
      // is announced when the copy begins: the function fails then, and gets the event again.
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
    // The limit that is reached first counts; with these values it is the time.
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: deliverForHours * 60
    }
    deadLetterWithResourceIdentity: empty(deadLetterAccountId) ? null : deadLetters
  }
}

@description('Resource id of the event subscription.')
output id string = rawArchives.id
