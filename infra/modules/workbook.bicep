// The operator's workbook: workbook.json, in which names of query files are replaced by the queries of ../queries.

@description('Begins the name that the workbook is shown by.')
param name string

@description('Region of the workbook.')
param location string

@description('Tags of the workbook.')
param tags object

@description('Resource id of the Log Analytics workspace that the queries ask.')
param workspaceId string

@description('Each source that is expected, as KQL: its name and its INTERVAL, such as: \'radar\', 10m, \'north\', 1h')
param expectedSources string

var queries = {
  'archive.kql': loadTextContent('../queries/archive.kql')
  'archives.kql': loadTextContent('../queries/archives.kql')
  'backlog.kql': loadTextContent('../queries/backlog.kql')
  'copy-rate.kql': loadTextContent('../queries/copy-rate.kql')
  'deletion-margin.kql': loadTextContent('../queries/deletion-margin.kql')
  'deliveries.kql': loadTextContent('../queries/deliveries.kql')
  'errors.kql': loadTextContent('../queries/errors.kql')
  'failures.kql': loadTextContent('../queries/failures.kql')
  'gaps.kql': loadTextContent('../queries/gaps.kql')
  'given-up.kql': loadTextContent('../queries/given-up.kql')
  'heartbeat.kql': loadTextContent('../queries/heartbeat.kql')
  'images.kql': loadTextContent('../queries/images.kql')
  'lag.kql': loadTextContent('../queries/lag.kql')
  'lost-results.kql': loadTextContent('../queries/lost-results.kql')
  'near-deletion.kql': loadTextContent('../queries/near-deletion.kql')
  'no-archive.kql': loadTextContent('../queries/no-archive.kql')
  'oldest-uncopied.kql': loadTextContent('../queries/oldest-uncopied.kql')
  'refusals.kql': loadTextContent('../queries/refusals.kql')
  'slowest.kql': loadTextContent('../queries/slowest.kql')
  'source-names.kql': loadTextContent('../queries/source-names.kql')
  'sources.kql': loadTextContent('../queries/sources.kql')
}

// A query file runs by itself with example values; here they are replaced by the workbook's parameters.
var ofSource = mapValues(queries, text => replace(text, 'let source = \'*\';', 'let source = \'{Source}\';'))
var ofStep = mapValues(ofSource, text => replace(text, 'let step = 1h;', 'let step = {TimeRange:grain};'))
var ofVersion = mapValues(ofStep, text => replace(text, 'let version = \'0123abcd\';', 'let version = \'{Version}\';'))
var filled = mapValues(ofVersion, text => replace(text, '\'example\', 10m', expectedSources))

// Replace the file name of each item that has a query by the query.
func asked(content object, texts object) object => contains(content, 'query') ? { query: texts[content.query] } : {}

var page = any(loadJsonContent('../workbook.json'))
var shown = map(page.items, item => union(item, { content: union(item.content, asked(item.content, filled)) }))
// The query of the list of sources is inside a parameter, which the line above does not reach.
var sourceNames = replace(filled['source-names.kql'], '\n', '\\n')
var serialized = replace(string(union(page, { items: shown })), 'source-names.kql', sourceNames)

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, name, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    category: 'workbook'
    displayName: '${name}: images from SFTP and FTP servers'
    sourceId: workspaceId
    serializedData: replace(serialized, 'WORKSPACE', workspaceId)
    version: 'Notebook/1.0'
  }
}

@description('Resource id of the workbook.')
output workbookId string = workbook.id
