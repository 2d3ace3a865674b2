// Monthly budget of the resource group. It sends mails and stops nothing.

@description('Begins the name of the budget.')
param name string

@description('Amount of a month, in the currency of the bill.')
param amount int

@description('First day of the month in which the budget is made, as 2026-12-01.')
param start string

@description('Address that is notified.')
param email string

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: '${name}-budget'
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: start }
    notifications: {
      spent: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [email]
      }
      expected: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [email]
      }
    }
  }
}

@description('Resource id of the budget.')
output budgetId string = budget.id
