#!/bin/sh
# Deploy the whole system to Azure, or update it. It is safe to run again at any time.
set -eu
HERE=$PWD
cd "$(dirname "$0")/.."

WAIT=${DEPLOY_WAIT:-20} # seconds between two attempts: new roles and functions take minutes to take effect everywhere
TRIES=15
PATIENCE=$((TRIES * 20))
SUBSCRIPTION=raw-archives # name in the templates
LOCK=keep-archives        # name in the templates
TAG=made-by=infra/deploy.sh
GOES_ON="Remove the cause and run the same command again: it keeps the existing resources and continues from there."
FUNCTIONS=$(sed -n 's/^@app\.function_name("\([a-z_]*\)").*/\1/p' function_app.py)

usage() {
    cat <<'END'
infra/deploy.sh GROUP LOCATION [FILE]            make or update everything in the resource group GROUP
infra/deploy.sh --what-if GROUP LOCATION [FILE]  show what that would change, and change nothing
infra/deploy.sh --secret GROUP NAME              put a secret into the key vault; its value is read from standard input
infra/deploy.sh --check GROUP                    show what runs and what does not
infra/deploy.sh --smoke GROUP                    send a small archive through the app and wait for its images
infra/deploy.sh --remove GROUP                   delete the group and all data in it, after asking

FILE holds your parameters (default: infra/main.bicepparam). LOCATION is a region such as westeurope.
END
}

say() { printf '%s\n' "$*"; }
lower() { printf '%s' "$1" | tr '[:upper:]' '[:lower:]'; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}
ok() { printf '  ok          %s\n' "$*"; }
unknown() { printf '  unknown     %s\n' "$*"; }
warn() { printf '  warning     %s\n' "$*"; }
WRONG=0
MISSING=0 # 1 if a secret is missing
wrong() {
    printf '  WRONG       %s\n' "$*"
    WRONG=1
}

# Check a group's name, because it becomes part of queries and prompts.
check_group() {
    case $1 in
        '' | -* | *[!A-Za-z0-9._-]*) fail "'$1' is not a valid resource group name" "A name has letters, digits, dots, hyphens and underscores." ;;
    esac
}

need() {
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: it is $2." "Install it: $3" "Then run the same command again."
}

check_tools() {
    need az "Azure CLI" "https://learn.microsoft.com/cli/azure/install-azure-cli"
    [ "$1" = all ] && need func "Azure Functions Core Tools, version 4" \
        "https://learn.microsoft.com/azure/azure-functions/functions-run-local"
    account=$(az account show --query name --output tsv 2>/dev/null) ||
        fail "you are not logged in to Azure." "Type: az login" "Then run the same command again."
    say "subscription: $account"
}

# Find the parameter file, relative to the folder where the command was typed.
find_file() {
    case ${1:-} in
        '') file=infra/main.bicepparam ;;
        /*) file=$1 ;;
        *) file=$HERE/$1 ;;
    esac
    check_file "$file"
}

check_file() {
    [ -f "$1" ] || fail "the parameter file $1 does not exist." "Copy infra/main.bicepparam within its folder and fill in the copy."
    case $1 in *.bicepparam) ;; *) fail "$1 is not a parameter file: its name must end in .bicepparam." ;; esac
    if grep -q -e 'host\.example' -e 'AAAA\.\.\.' "$1"; then
        fail "$1 still contains the example server." "Fill in your sources, and your own id under operatorIds."
    fi
}

# Run a command until it succeeds or has failed TIMES times: `again TIMES WHAT COMMAND...`.
again() {
    times=$1 what=$2 try=1
    shift 2
    until "$@"; do
        [ "$try" -lt "$times" ] || return 1
        say "$what: failed, attempt $try of $times; next attempt in $WAIT s"
        sleep "$WAIT"
        try=$((try + 1))
    done
}

# Get the tokens that the final checks of storage and the key vault need. A pipeline's login issues new tokens only in
# its first five minutes, which are over when the resources have been made: https://github.com/Azure/login/issues/372
take_tokens() {
    for resource in https://storage.azure.com https://vault.azure.net; do
        az account get-access-token --resource "$resource" --output none ||
            fail "Azure issues no token for $resource; its message is above." "Type: az login --scope $resource/.default"
    done
}

# Read the parameters from the Bicep compiler, because a value may come from a variable or from the environment.
compile_parameters() {
    compiled=$(az bicep build-params --file "$1" --stdout --only-show-errors) ||
        fail "$1 cannot be compiled; the compiler's messages are above." "Correct it and run the same command again."
    case $compiled in
        *'"parametersJson"'*) ;;
        *) fail "the compiler's output for $1 cannot be read." "Type: az bicep upgrade" "Then run the same command again." ;;
    esac
    # JSON within JSON, with \" for each quote; remove the whitespace and the template.
    parameters=$(printf '%s' "$compiled" | sed 's/.*"parametersJson"://; s/"templateJson".*//; s/\\[nr]//g; s/ //g')
}

# Succeed if the parameters require a network.
wants_network() {
    for parameter in fixedOutboundAddress privateEndpoints; do
        case $parameters in
            *'\"'"$parameter"'\":{\"value\":false'*) ;;
            *'\"'"$parameter"'\":{'*) return 0 ;;
        esac
    done
    return 1
}

# Succeed if Microsoft.App must be registered. A deployment registers only the resource providers of its own resources,
# and the app's subnet is delegated to another one.
unregistered_provider() {
    wants_network || return 1
    registered=$(az provider show --namespace Microsoft.App --query registrationState --output tsv) ||
        { warn "whether the resource provider Microsoft.App is registered cannot be read; a network needs it" && return 1; }
    [ "$registered" != Registered ]
}

prepare_network() {
    unregistered_provider || return 0
    say "network: registering the resource provider Microsoft.App in the subscription, which may take minutes"
    az provider register --namespace Microsoft.App --wait --output none ||
        fail "the resource provider Microsoft.App could not be registered; an app in a virtual network needs it." \
            "It takes the right Microsoft.App/register/action in the subscription, as its Contributor and its Owner have." \
            "Let one of them type, once: az provider register --namespace Microsoft.App" \
            "Then run the same command again."
}

make_group() {
    if [ "$(az group exists --name "$1" --output tsv)" = true ]; then
        say "resource group $1: exists"
    else
        say "resource group $1: creating it in $2"
        az group create --name "$1" --location "$2" --tags "$TAG" --output none
    fi
}

make_resources() {
    say "resources: creating or updating them; the first time takes some minutes"
    az deployment group create --resource-group "$1" --name main --parameters "$2" --no-prompt true --output none && return
    explain_topic "$1" "$2"
    fail "some resources could not be created; Azure's messages are above." \
        "Correct $2 and run the same command again: it keeps the existing resources."
}

# Print how to use an existing system topic. A storage account has at most one; Defender or a policy may have made it.
explain_topic() {
    case $parameters in *'\"existingTopicName\":{\"value\":\"'[!\\]*) return ;; esac
    ours=$(lower "/resourceGroups/$1/providers/Microsoft.Storage/storageAccounts/")
    az eventgrid system-topic list --query '[].[source, name, resourceGroup]' --output tsv 2>/dev/null |
        while IFS=$(printf '\t') read -r source name group; do
            case $(lower "$source") in *"$ours"*data????????) ;; *) continue ;; esac
            case $(lower "$group/$name") in "$(lower "$1")"/*-events) continue ;; esac
            say "The storage account ${source##*/} has an Event Grid topic already, and may have only one. Use that, in $2:"
            say "  param existingTopicName = '$name'"
            say "  param existingTopicGroup = '$group'"
        done
}

# Read the outputs of the first deployment, one value per line; some may be empty. Fails if none has succeeded.
ask_outputs() {
    answered=$(az deployment group show --resource-group "$1" --name main --output tsv --query "properties.outputs.[
        functionAppName.value || '', functionAppHostName.value || '', dataAccountName.value || '',
        keyVaultName.value || '', topicName.value || '', topicGroup.value || '', topicPrincipalId.value || '',
        outboundAddress.value || '', dataAccountLock.value || '']") || answered=
    {
        IFS= read -r app
        IFS= read -r host
        IFS= read -r data
        IFS= read -r vault
        IFS= read -r topic
        IFS= read -r topic_group
        IFS= read -r topic_principal
        IFS= read -r address
        IFS= read -r lock
    } <<END || :
$answered
END
    [ -n "$app" ] && [ -n "$host" ] && [ -n "$data" ] && [ -n "$vault" ] && [ -n "$topic" ] && [ -n "$topic_group" ]
}

read_outputs() {
    ask_outputs "$1" || fail "the group $1 contains no successful deployment of this project." \
        "Type: infra/deploy.sh $1 LOCATION [FILE]"
}

list_functions() { az functionapp function list --resource-group "$1" --name "$app" --query '[].name' --output tsv; }

has_function() { printf '%s\n' "$1" | grep -qx -e "[^/]*/$2"; }

function_is_there() { listed=$(list_functions "$1") && has_function "$listed" on_raw_archive; }

# Publish once. A failure is retried, because a new app's roles and publishing endpoint take minutes to work, except a
# failed build, which would fail again.
publish_once() {
    said=$({ func azure functionapp publish "$app" --python --build remote 2>&1 || echo "func ended with status $?"; } |
        while IFS= read -r line || [ -n "$line" ]; do
            printf '%s\n' "$line"
            printf '%s\n' "$line" >&2
        done)
    case $said in
        *"Failed to retrieve deployment status"*) return 1 ;;
        *"func ended with status "*) ;;
        *) return 0 ;;
    esac
    case $said in
        *"Deployment was successful but the app appears to be unhealthy"*)
            say "code: published, but the app does not respond correctly yet"
            return 0
            ;;
        *"Azure Storage responded with"* | *"Failed to upload"*"storage account"* | *"Failed to access storage account"* | \
            *"checking access to storage account"*) return 1 ;;
        *"The deployment failed, Please check the printed logs"* | *"Remote build failed"*)
            fail "the code could not be built in Azure; the build's messages are above." \
                "Correct what it names, most often a line of requirements.txt, and run the same command again."
            ;;
    esac
    return 1
}

# Check that the code loads, because Azure accepts code that does not, and then has no functions.
check_code() {
    [ -x .venv/bin/python ] || return 0
    .venv/bin/python -c 'import function_app' || fail "the code fails to load on this machine, so nothing was changed in Azure; see above." \
        "Correct it, or bring .venv up to date: make setup"
}

publish() {
    say "code: publishing to $app, which installs the packages"
    again "$TRIES" publishing publish_once || fail "publishing failed $TRIES times; the last message is above." "$GOES_ON"
    again "$TRIES" "waiting for the function on_raw_archive" function_is_there "$1" ||
        fail "the code is published, but the app has no function on_raw_archive: the code may not load." \
            "See the app's logs in Application Insights, remove the cause and run the same command again."
}

# Find the topic's system-assigned identity, which writes dead letters; no other identity passes a storage firewall.
look_at_topic() {
    [ -z "$topic_principal" ] || return 0
    identity=$(az eventgrid system-topic show --resource-group "$topic_group" --name "$topic" --output tsv \
        --query "join(' ', [identity.type || '', identity.principalId || ''])") || identity=unknown
    lost="so dead letters stay off: an event that cannot be delivered for a day is lost, and reconcile has to find the archive"
    case $identity in
        *SystemAssigned*) topic_principal=${identity##* } ;;
        unknown) warn "the topic $topic in the group $topic_group cannot be looked at, $lost" ;;
        *UserAssigned*)
            warn "the topic $topic has no system-assigned identity, $lost"
            warn "az would take its other identities away: switch it on in the portal, at the topic, under Identity; then deploy again"
            ;;
        *)
            warn "the topic $topic has no identity, $lost"
            warn "give it one, and deploy again: az eventgrid system-topic update --resource-group $topic_group" \
                "--name $topic --identity systemassigned"
            ;;
    esac
}

event_state() {
    az eventgrid system-topic event-subscription show --resource-group "$topic_group" --system-topic-name "$topic" \
        --name "$SUBSCRIPTION" --query "$1" --output tsv 2>/dev/null || :
}

delete_subscription() {
    az eventgrid system-topic event-subscription delete --resource-group "$topic_group" --system-topic-name "$topic" \
        --name "$SUBSCRIPTION" --yes --output none
}

subscribe_once() {
    deployed=$(az deployment group create --resource-group "$1" --name events --template-file infra/events.bicep \
        --no-prompt true --only-show-errors --query properties.timestamp --output tsv --parameters \
        "functionAppName=$app" "dataAccountName=$data" "topicName=$topic" "topicGroup=$topic_group" \
        "topicPrincipalId=$topic_principal") && return
    # A failed subscription is never retried by Azure, and may block the next attempt.
    [ "$(event_state provisioningState)" != Failed ] || delete_subscription || :
    return 1
}

# Subscribe with retries: for some minutes Event Grid cannot find the function ("Destination endpoint not found").
subscribe() {
    say "events: subscribing on_raw_archive to new archives"
    look_at_topic
    again "$TRIES" "the event subscription" subscribe_once "$1" ||
        fail "the event subscription failed $TRIES times; the last message is above." "$GOES_ON"
}

# Print the longest time in seconds between two runs of reconcile; nothing if it differs between days.
reconcile_pause() {
    schedule=$(az functionapp config appsettings list --resource-group "$1" --name "$app" --output tsv \
        --query "[?name=='RECONCILE_SCHEDULE'].value | [0]") && [ -n "$schedule" ] && .venv/bin/python -c '
import sys
from config.schedules import longest_pause
pause = longest_pause(sys.argv[1])
print(round(pause.total_seconds()) if pause else "")' "$schedule"
}

# Print a UTC time as a number, to the second.
number() { printf '%s' "$1" | sed 's/[.+Z].*//; s/[^0-9]//g'; }

# Print when reconcile last completed; az ends with 3 if no run is recorded.
last_run() {
    az storage blob show --account-name "$data" --container-name state --name runs/reconcile.json --auth-mode login \
        --query properties.lastModified --output tsv --only-show-errors
}

# Succeed if reconcile has run since the deployment, by Azure's clocks, or if storage has refused to answer too often.
reconcile_ran() {
    code=0
    ran=$(last_run 2>/dev/null) || code=$?
    case $code in
        0) refusals=0 && [ "$(number "$ran")" -gt "$(number "$deployed")" ] ;;
        3) refusals=0 && return 1 ;;
        *) refusals=$((refusals + 1)) && [ "$refusals" -ge "$TRIES" ] ;;
    esac
}

wait_for_reconcile() {
    refusals=0
    again "$((pause / 20 + TRIES))" "the next run of reconcile" reconcile_ran
}

# Check that timers run. Publishing restarts the app, and timers may stop after that: azure-functions-host#11828.
check_timer() {
    if [ ! -x .venv/bin/python ]; then
        unknown "whether timers run after publishing: .venv is missing; type: make setup"
        return
    fi
    pause=$(reconcile_pause "$1" || :)
    if [ -z "$pause" ] || [ "$pause" -gt 3600 ]; then
        unknown "whether timers run after publishing: RECONCILE_SCHEDULE cannot be read, or is rarer than hourly; the doctor" \
            "shows when reconcile ran last"
        return
    fi
    say "timers: waiting for a run of reconcile on the new code, for up to $(((pause + PATIENCE) / 60)) minutes"
    if ! wait_for_reconcile; then
        say "timers: no run; restarting the app once and waiting again"
        az functionapp restart --resource-group "$1" --name "$app" --output none || :
        wait_for_reconcile || {
            wrong "reconcile has not run since publishing, nor after a restart: the timers of $app have stopped, and nothing" \
                "is polled: see its logs in Application Insights; az functionapp restart --resource-group $1 --name $app"
            return
        }
    fi
    if [ "$refusals" -gt 0 ]; then
        last_run >/dev/null || :
        unknown "whether timers run after publishing: the storage account $data did not answer, as said above: put your id" \
            "into operatorIds, and your address into allowedAddresses if it is closed; a new role takes some minutes"
    else
        ok "timers run: reconcile ran after publishing"
    fi
}

check_functions() {
    listed=$(list_functions "$1") || {
        unknown "which functions are there: Azure does not say"
        return
    }
    key=$(az functionapp keys list --resource-group "$1" --name "$app" --query masterKey --output tsv) || key=
    for name in $FUNCTIONS; do
        if has_function "$listed" "$name"; then check_function "$name"; else
            wrong "function $name is not there: run infra/deploy.sh $1 LOCATION [FILE] again"
        fi
    done
}

# Check one function, because the host keeps running if a wrong setting disables one. The key must not be on a command
# line.
check_function() {
    if [ -z "$key" ] || ! command -v curl >/dev/null 2>&1; then
        unknown "function $1 is there; whether a setting switches it off: that takes curl, and the right to list the app's keys"
        return
    fi
    status=$(printf 'header = "x-functions-key: %s"\n' "$key" |
        curl --config /dev/stdin --silent --max-time 20 "https://$host/admin/functions/$1/status" || :)
    case $status in
        *'"errors":['*) wrong "function $1 is disabled, or its listener does not start: $(printf '%s' "$status" | sed 's/.*"errors":\[//; s/].*//')" ;;
        '{'*) ok "function $1" ;;
        *) unknown "function $1 is there; whether a setting switches it off: https://$host does not say" ;;
    esac
}

# For Flex Consumption az prints the raw resource, with its properties below `properties`.
check_app() {
    state=$(az functionapp show --resource-group "$1" --name "$app" --query 'properties.state || state' --output tsv) || state=
    case $state in
        Running) ok "app $app is running" ;;
        '') wrong "app $app: Azure does not report whether it is running" ;;
        *) wrong "app $app is in state '$state': az functionapp start --resource-group $1 --name $app" ;;
    esac
    if ! command -v curl >/dev/null 2>&1; then
        unknown "curl is missing, so https://$host was not called"
        return
    fi
    status=$(curl --silent --output /dev/null --max-time 60 --write-out '%{http_code}' "https://$host/" || :)
    case $status in
        2?? | 3?? | 4??) ok "https://$host answers ($status)" ;;
        *) wrong "https://$host does not answer ($status): see the app's logs in Application Insights" ;;
    esac
}

check_events() {
    state=$(event_state "join(' ', [provisioningState, deadLetterWithResourceIdentity && 'kept' || 'lost'])")
    case ${state:=missing} in
        'Succeeded kept') ok "new archives are announced to on_raw_archive" ;;
        'Succeeded lost')
            ok "new archives are announced to on_raw_archive"
            warn "dead letters are off; infra/deploy.sh $1 LOCATION [FILE] switches them on, or says what is missing"
            ;;
        *) wrong "the event subscription is in state '${state% *}': run infra/deploy.sh $1 LOCATION [FILE] again" ;;
    esac
}

check_secrets() {
    wanted=$(az deployment group show --resource-group "$1" --name main --query 'properties.outputs.secretNames.value[]' \
        --output tsv)
    [ -n "$wanted" ] || return 0
    if ! there=$(az keyvault secret list --vault-name "$vault" --query '[].name' --output tsv 2>/dev/null); then
        unknown "you may not read the key vault $vault: put your id into operatorIds; a new role takes some minutes"
        return
    fi
    for name in $wanted; do
        if printf '%s\n' "$there" | grep -qx -e "$name"; then ok "secret $name"; else
            wrong "secret $name is missing: infra/deploy.sh --secret $1 $name"
            MISSING=1
        fi
    done
}

check() {
    say "status of the parts:"
    check_app "$1"
    check_functions "$1"
    check_events "$1"
    check_secrets "$1"
    [ -z "$address" ] || say "the app connects from the address $address: allow it at your servers"
    say "check more, your servers included: .venv/bin/python -m ops.cli doctor --app $app"
}

# Send an archive through the app.
smoke() {
    if [ ! -x .venv/bin/python ]; then
        unknown "whether an archive comes through: .venv is missing; type: make setup"
        return 1
    fi
    say "smoke test, with a small archive:"
    if .venv/bin/python -m ops.cli doctor --app "$app" --smoke; then ok "an archive comes through"; else
        wrong "the archive was not processed: the reason is above; again: infra/deploy.sh --smoke $1"
    fi
}

deploy() {
    check_tools all
    check_code
    find_file "${3:-}"
    compile_parameters "$file"
    take_tokens
    prepare_network
    make_group "$1" "$2"
    make_resources "$1" "$file"
    read_outputs "$1"
    publish "$1"
    subscribe "$1"
    check "$1"
    # After a first deployment the app has no secrets yet, so its settings are incomplete and every call fails.
    if [ "$MISSING" = 1 ]; then
        unknown "whether timers run and an archive comes through: the app needs its secrets first;" \
            "then type: infra/deploy.sh --smoke $1"
    else
        check_timer "$1"
        smoke "$1" || :
    fi
    return "$WRONG"
}

what_if() {
    check_tools az
    find_file "${3:-}"
    compile_parameters "$file"
    [ "$(az group exists --name "$1" --output tsv)" = true ] || fail "the resource group $1 does not exist, so all resources would be new." \
        "To see it all, make the group first; empty it costs nothing: az group create --name $1 --location $2 --tags $TAG"
    ! unregistered_provider || say "network: the resource provider Microsoft.App would be registered in the subscription"
    # ProviderNoRbac needs only the right to read, and a pull request's pipeline should have no more.
    az deployment group what-if --resource-group "$1" --parameters "$file" --no-prompt true --validation-level ProviderNoRbac
}

# Refuse a pasted key. Only its first line was read; the user's shell would run the others and keep them in its history.
refuse_key() {
    case $value in
        -----BEGIN*)
            stty -icanon min 0 time 5
            cat >/dev/null
            fail "a key has several lines, and only one is read here, so nothing was changed." \
                "Take it from its file: infra/deploy.sh --secret $1 $2 < KEYFILE"
            ;;
    esac
}

# Store a secret. Its value goes only through pipes, because every user of the machine can read command lines.
put_secret() {
    check_tools az
    read_outputs "$1"
    if [ -t 0 ]; then
        terminal=$(stty -g)
        trap 'stty "$terminal"' EXIT
        trap 'exit 130' INT TERM
        stty -echo
        printf 'value of %s (hidden): ' "$2" >&2
        IFS= read -r value || :
        echo >&2
        refuse_key "$@"
        stty "$terminal"
        trap - EXIT INT TERM
    else
        value=$(cat)
    fi
    [ -n "$value" ] || fail "the value of $2 is empty, so nothing was changed."
    printf '%s' "$value" | az keyvault secret set --vault-name "$vault" --name "$2" --file /dev/stdin --encoding utf-8 \
        --output none || fail "the secret $2 could not be written to $vault." \
        "You need Key Vault Secrets Officer there: put your id into operatorIds and deploy; a new role takes some minutes."
    # Without a restart the app may take up to a day to use the new value.
    az functionapp restart --resource-group "$1" --name "$app" --output none
    say "$2 is set in $vault, and the app was restarted to use it"
}

# Remove our subscription from a topic in another group; that topic stays.
remove_subscription() {
    case $(lower "$topic_group") in '' | "$(lower "$1")") return ;; esac
    if delete_subscription; then
        say "the event subscription $SUBSCRIPTION was removed from the topic $topic in the group $topic_group"
    else
        say "the event subscription $SUBSCRIPTION at the topic $topic in the group $topic_group could not be removed;"
        say "without this group it does nothing. Later: az eventgrid system-topic event-subscription delete" \
            "--resource-group $topic_group --system-topic-name $topic --name $SUBSCRIPTION"
    fi
}

remove_lock() {
    tries=1
    locks=$(az lock list --resource-group "$1" --query "[?name=='${lock:-$LOCK}'].id" --output tsv) || locks=
    for id in $locks; do
        az lock delete --ids "$id" --output none || fail "the delete lock could not be removed, so the group was not deleted." \
            "It takes the role Owner or User Access Administrator: az lock delete --ids $id"
        say "the delete lock ${id##*/} was removed"
        tries=$TRIES # the removal takes time to take effect everywhere
    done
}

remove() {
    check_tools az
    tag=$(az group show --name "$1" --query 'tags."made-by"' --output tsv) || fail "there is no resource group $1."
    [ "made-by=$tag" = "$TAG" ] || fail "the group $1 was not created by this script, so it may contain other resources." \
        "Delete what you do not need yourself: az resource list --resource-group $1 --output table"
    say "This deletes the resource group $1 with all archives, images and logs in it. They cannot be restored."
    say "It first removes this project's delete lock on the archives, and its event subscription at a topic in another group."
    say "The name of its key vault stays reserved for 7 days; until then a group of the same name cannot be created again."
    printf 'Type its name to continue: '
    read -r typed || :
    [ "$typed" = "$1" ] || fail "nothing was deleted."
    ask_outputs "$1" 2>/dev/null || :
    remove_subscription "$1"
    remove_lock "$1"
    again "$tries" "deleting the group" az group delete --name "$1" --yes || fail "the group $1 could not be deleted; Azure's messages are above." \
        "If something in it is locked: az lock list --resource-group $1 --output table"
    say "the group $1 was deleted"
}

command=deploy
case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
    --what-if | --secret | --check | --smoke | --remove)
        command=${1#--}
        shift
        ;;
esac
case $command:$# in
    deploy:[23] | what-if:[23] | secret:2 | check:1 | smoke:1 | remove:1) check_group "$1" ;;
    *)
        usage >&2
        exit 2
        ;;
esac
case $command in
    deploy) deploy "$@" ;;
    what-if) what_if "$@" ;;
    secret) put_secret "$@" ;;
    check)
        check_tools az
        read_outputs "$1"
        check "$1"
        exit "$WRONG"
        ;;
    smoke)
        check_tools az
        read_outputs "$1"
        smoke "$1" || exit 1
        exit "$WRONG"
        ;;
    remove) remove "$@" ;;
esac
