package reconcile_test

import "testing"

const mapped = "    roles: {realm: [{name: r}, {name: q}], client: {c: [{name: x}]}}\n    clients: [{clientId: c, fullScopeAllowed: false}, {clientId: d}]\n    clientScopes: [{name: s, protocol: openid-connect}]\n"

var scopeMappingWalks = map[string][]step{
	"scope mappings of clients": {
		{mapped, "/clients/{client:c}/scope-mappings", `{"realmMappings":null,"clientMappings":null}`},
		{mapped + "    scopeMappings: [{client: c, roles: [r, offline_access]}]\n", "/clients/{client:c}/scope-mappings/realm", `[{},{}]`},
		{mapped + "    scopeMappings: [{client: c, roles: [q]}]\n    clientScopeMappings: {account: [{client: c, roles: [view-profile, manage-account]}], c: [{client: d, roles: [x]}]}\n",
			"/clients/{client:c}/scope-mappings", `{"realmMappings":[{"name":"q"}],"clientMappings":{"account":{"mappings":[{},{}]}}}`},
		{mapped + "    scopeMappings: [{client: c, roles: []}]\n    clientScopeMappings: {account: [{client: c, roles: [view-profile]}, {client: d, roles: [view-groups]}], c: [{client: c, roles: [x]}]}\n",
			"/clients/{client:c}/scope-mappings", `{"realmMappings":null,"clientMappings":{"account":{"mappings":[{"name":"view-profile"}]},"c":{"mappings":[{"name":"x"}]}}}`},
		{mapped + "    scopeMappings: [{client: c, roles: [r]}]\n", "/clients/{client:c}/scope-mappings", `{"realmMappings":[{"name":"r"}],"clientMappings":null}`},
		{mapped + "    clientScopeMappings: {c: [{client: c, roles: [x]}]}\n", "/clients/{client:c}/scope-mappings", `{"realmMappings":null,"clientMappings":{"c":{"mappings":[{"name":"x"}]}}}`},
		{"    roles: {client: {e: [{name: y, $was: [x]}]}}\n    clients: [{clientId: e, $was: [c]}]\n    clientScopeMappings: {e: [{client: e, roles: [y]}]}\n",
			"/clients/{client:e}/scope-mappings", `{"clientMappings":{"e":{"mappings":[{"name":"y"}]}}}`},
		{"    clients: [{clientId: e}]\n", "/clients/{client:e}/scope-mappings", `{"realmMappings":null,"clientMappings":null}`},
	},
	"scope mappings of client scopes": {
		{mapped + "    scopeMappings: [{clientScope: s, roles: [r]}, {clientScope: offline_access, roles: [offline_access, q]}]\n    clientScopeMappings: {c: [{clientScope: s, roles: [x]}]}\n",
			"/client-scopes/{client-scopes:s}/scope-mappings", `{"realmMappings":[{"name":"r"}],"clientMappings":{"c":{"mappings":[{"name":"x"}]}}}`},
		{mapped + "    scopeMappings: [{clientScope: offline_access, roles: [offline_access]}]\n", "/client-scopes/{client-scopes:s}/scope-mappings", `{"realmMappings":null,"clientMappings":null}`},
		{"    displayName: none\n", "/client-scopes/{client-scopes:offline_access}/scope-mappings", `{"realmMappings":[{"name":"offline_access"}]}`},
	},
}

func TestScopeMappingsWalkTheirStates(t *testing.T) { walk(t, scopeMappingWalks) }
