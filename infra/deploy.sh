#!/bin/sh
# Put the whole system into Azure, or bring what is there up to date: it is safe to run again at any time.
set -eu
HERE=$PWD
cd "$(dirname "$0")/.."

WAIT=${DEPLOY_WAIT:-20} # seconds between two tries: new roles and functions take minutes to be known everywhere
TRIES=15
SUBSCRIPTION=raw-archives # as infra/events.bicep names it
TAG=made-by=infra/deploy.sh
FUNCTIONS=$(sed -n 's/^@app\.function_name("\([a-z_]*\)").*/\1/p' function_app.py)

usage() {
    cat <<'END'
infra/deploy.sh GROUP LOCATION [FILE]            make or update everything in the resource group GROUP
infra/deploy.sh --what-if GROUP LOCATION [FILE]  show what that would change, and change nothing
infra/deploy.sh --secret GROUP NAME              put a secret into the key vault; its value is read from standard input
infra/deploy.sh --check GROUP                    tell what runs and what does not
infra/deploy.sh --remove GROUP                   delete the group and all data in it, after asking

FILE holds your parameters (default: infra/main.bicepparam). LOCATION is a region such as westeurope.
END
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}
ok() { printf '  ok          %s\n' "$*"; }
unknown() { printf '  not looked  %s\n' "$*"; }
wrong() {
    printf '  WRONG       %s\n' "$*"
    WRONG=1
}

# A group's name goes into queries and questions.
check_group() {
    case $1 in
        '' | -* | *[!A-Za-z0-9._-]*) fail "'$1' is no name of a resource group" "It has letters, digits, dots, hyphens and underscores." ;;
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

# The parameter file that is meant, seen from where the command was typed.
find_file() {
    case ${1:-} in
        '') file=infra/main.bicepparam ;;
        /*) file=$1 ;;
        *) file=$HERE/$1 ;;
    esac
    check_file "$file"
}

check_file() {
    [ -f "$1" ] || fail "there is no parameter file $1." "Copy infra/main.bicepparam, in its folder, and fill it in."
    case $1 in *.bicepparam) ;; *) fail "$1 is no parameter file: it must end in .bicepparam." ;; esac
    if grep -q -e 'host\.example' -e 'AAAA\.\.\.' "$1"; then
        fail "$1 still holds the example server." "Fill in your sources, and your own id under operatorIds."
    fi
}

# Run a command until it succeeds: `again TIMES WHAT COMMAND...`.
again() {
    times=$1 what=$2 try=1
    shift 2
    until "$@"; do
        [ "$try" -lt "$times" ] || fail "$what: failed $try times; what was said last is above." \
            "Remove the cause and run the same command again: what is there stays, and it goes on from there."
        say "$what: not yet; tried $try of $times times, again in $WAIT s"
        sleep "$WAIT"
        try=$((try + 1))
    done
}

# What storage and the key vault are looked at with in the end. A pipeline's login gives new tokens during its first
# five minutes only, and no longer once the resources are there: https://github.com/Azure/login/issues/372
take_tokens() {
    for resource in https://storage.azure.com https://vault.azure.net; do
        az account get-access-token --resource "$resource" --output none ||
            fail "Azure gives no token for $resource; what it said is above." "Type: az login --scope $resource/.default"
    done
}

make_group() {
    if [ "$(az group exists --name "$1" --output tsv)" = true ]; then
        say "resource group $1: is there"
    else
        say "resource group $1: making it in $2"
        az group create --name "$1" --location "$2" --tags "$TAG" --output none
    fi
}

make_resources() {
    say "resources: making or updating them; the first time this takes some minutes"
    az deployment group create --resource-group "$1" --name main --parameters "$2" --no-prompt true --output none ||
        fail "the resources could not all be made; what Azure said is above." \
            "Correct $2 and run the same command again: what is there stays."
}

# What the first deployment was told by Azure. Names have no spaces; the address may be empty, so it comes last.
read_outputs() {
    wanted='[functionAppName.value, functionAppHostName.value, dataAccountName.value, keyVaultName.value, topicName.value, topicIdentityId.value, outboundAddress.value]'
    told=$(az deployment group show --resource-group "$1" --name main --query "properties.outputs.$wanted" --output tsv) ||
        fail "the group $1 holds no deployment of ours." "Type: infra/deploy.sh $1 LOCATION"
    # shellcheck disable=SC2086 # split on purpose
    set -- $told
    [ $# -ge 6 ] || fail "the deployment in this group has not ended well." "Run infra/deploy.sh GROUP LOCATION again."
    app=$1 host=$2 data=$3 vault=$4 topic=$5 topic_identity=$6 address=${7:-}
}

list_functions() {
    az functionapp function list --resource-group "$1" --name "$app" --query '[].name' --output tsv | sed 's|.*/||'
}

function_is_there() { list_functions "$1" | grep -qx on_raw_archive; }

publish() {
    say "code: publishing it to $app, where its packages are installed"
    again 3 publishing func azure functionapp publish "$app" --python --build remote
    again "$TRIES" "waiting for the function on_raw_archive" function_is_there "$1"
}

event_state() {
    az eventgrid system-topic event-subscription show --resource-group "$1" --system-topic-name "$topic" \
        --name "$SUBSCRIPTION" --query provisioningState --output tsv 2>/dev/null || :
}

subscribe_once() {
    az deployment group create --resource-group "$1" --name events --template-file infra/events.bicep \
        --no-prompt true --output none --only-show-errors --parameters "functionAppName=$app" "topicName=$topic" \
        "dataAccountName=$data" "topicIdentityId=$topic_identity" && return
    # One that failed is never tried again by itself, and may stand in the way of the next.
    [ "$(event_state "$1")" != Failed ] || az eventgrid system-topic event-subscription delete --resource-group "$1" \
        --system-topic-name "$topic" --name "$SUBSCRIPTION" --yes --output none || :
    return 1
}

# Event Grid looks the function up, and for some minutes answers "Destination endpoint not found".
subscribe() {
    say "events: subscribing on_raw_archive to new archives"
    again "$TRIES" "the event subscription" subscribe_once "$1"
}

check_functions() {
    listed=$(list_functions "$1" || :)
    for name in $FUNCTIONS; do
        if printf '%s\n' "$listed" | grep -qx "$name"; then ok "function $name"; else
            wrong "function $name is not there: run infra/deploy.sh $1 LOCATION again"
        fi
    done
}

check_app() {
    state=$(az functionapp show --resource-group "$1" --name "$app" --query state --output tsv || :)
    if [ "$state" = Running ]; then ok "app $app is running"; else
        wrong "app $app is in state '$state': az functionapp start --resource-group $1 --name $app"
    fi
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
    state=$(event_state "$1")
    if [ "$state" = Succeeded ]; then ok "new archives are announced to on_raw_archive"; else
        wrong "the event subscription is in state '${state:-missing}': run infra/deploy.sh $1 LOCATION again"
    fi
}

check_secrets() {
    wanted=$(az deployment group show --resource-group "$1" --name main --query 'properties.outputs.secretNames.value[]' \
        --output tsv)
    [ -n "$wanted" ] || return 0
    if ! there=$(az keyvault secret list --vault-name "$vault" --query '[].name' --output tsv 2>/dev/null); then
        unknown "you may not look into the key vault $vault: put your id into operatorIds; a new role takes some minutes"
        return
    fi
    for name in $wanted; do
        if printf '%s\n' "$there" | grep -qx -e "$name"; then ok "secret $name"; else
            wrong "secret $name is missing: infra/deploy.sh --secret $1 $name"
        fi
    done
}

check() {
    WRONG=0
    say "what runs and what does not:"
    check_app "$1"
    check_functions "$1"
    check_events "$1"
    check_secrets "$1"
    [ -z "$address" ] || say "the app comes from the address $address: let it in at your servers"
    say "look deeper, as far as your servers: .venv/bin/python -m storage doctor --app $app"
    return "$WRONG"
}

deploy() {
    check_tools all
    find_file "${3:-}"
    take_tokens
    make_group "$1" "$2"
    make_resources "$1" "$file"
    read_outputs "$1"
    publish "$1"
    subscribe "$1"
    check "$1"
}

what_if() {
    check_tools az
    find_file "${3:-}"
    [ "$(az group exists --name "$1" --output tsv)" = true ] || fail "there is no resource group $1, so everything would be new." \
        "To see it all, make the group first; empty it costs nothing: az group create --name $1 --location $2 --tags $TAG"
    # So it asks for the right to read only, which is all that a pull request's pipeline should have.
    az deployment group what-if --resource-group "$1" --parameters "$file" --no-prompt true --validation-level ProviderNoRbac
}

# A key that is pasted has more lines than the one that was read: the shell behind us would run them, and remember them.
refuse_key() {
    case $value in
        -----BEGIN*)
            stty -icanon min 0 time 5
            cat >/dev/null
            fail "a key has many lines, and here one is read, so nothing was changed." \
                "Take it from its file: infra/deploy.sh --secret $1 $2 < KEYFILE"
            ;;
    esac
}

# The value goes through pipes only: a command line can be read by everybody on the machine.
put_secret() {
    check_tools az
    read_outputs "$1"
    if [ -t 0 ]; then
        terminal=$(stty -g)
        trap 'stty "$terminal"' EXIT
        trap 'exit 130' INT TERM
        stty -echo
        printf 'value of %s (it is not shown): ' "$2" >&2
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
        --output none || fail "the secret $2 could not be put into $vault." \
        "You need Key Vault Secrets Officer there: put your id into operatorIds and deploy; a new role takes some minutes."
    # Else the app would take up to a day to see it.
    az functionapp restart --resource-group "$1" --name "$app" --output none
    say "$2 is in $vault, and the app has been restarted to take it up"
}

remove() {
    check_tools az
    tag=$(az group show --name "$1" --query 'tags."made-by"' --output tsv) || fail "there is no resource group $1."
    [ "made-by=$tag" = "$TAG" ] || fail "the group $1 was not made by this script, so it may hold something else." \
        "Delete what you do not need yourself: az resource list --resource-group $1 --output table"
    say "This deletes the resource group $1 with all archives, images and logs in it. Nothing brings them back."
    say "For 7 days after that the name of its key vault stays taken: a group of the same name cannot be made anew until then."
    printf 'Type its name to go on: '
    read -r typed || :
    [ "$typed" = "$1" ] || fail "nothing was deleted."
    az group delete --name "$1" --yes
    say "the group $1 is gone"
}

command=deploy
case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
    --what-if | --secret | --check | --remove)
        command=${1#--}
        shift
        ;;
esac
case $command:$# in
    deploy:[23] | what-if:[23] | secret:2 | check:1 | remove:1) check_group "$1" ;;
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
        ;;
    remove) remove "$@" ;;
esac
