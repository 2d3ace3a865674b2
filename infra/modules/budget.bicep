// What the resource group may cost in a month. A budget tells; it stops nothing.

@description('Begins the name of the budget.')
param name string

@description('Amount of a month, in the currency of the bill.')
param amount int

@description('First day of the month in which the budget is made, as 2026-12-01.')
param start string

@description('Address that is told.')
param email string

var noStart = 'monthlyBudget needs budgetStart: the first day of the current month, as 2026-12-01. Leave it as it is afterwards'
var startDate = length(start) == 10 && endsWith(start, '-01') ? start : fail(noStart)
var emails = empty(email) ? fail('monthlyBudget needs alertEmail, the address that is told') : [email]

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: '${name}-budget'
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: startDate }
    notifications: {
      spent: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
      }
      expected: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
      }
    }
  }
}

@description('Resource id of the budget.')
output budgetId string = budget.id
