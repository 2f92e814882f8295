package reconcile_test

import "testing"

const everything = `
    displayName: Acme
    accessTokenLifespan: 300
    attributes: {team: identity}
    clientScopes:
      - name: orders
        protocol: openid-connect
        description: Orders
        protocolMappers:
          - name: tenant
            protocol: openid-connect
            protocolMapper: oidc-usermodel-attribute-mapper
            config: {user.attribute: tenant, claim.name: tenant, access.token.claim: true}
    clients:
      - clientId: portal
        name: Portal
        publicClient: true
        redirectUris: ["https://portal.acme.example/*", "https://b.acme.example/*"]
        attributes: {pkce.code.challenge.method: S256}
        defaultClientScopes: [profile, email, orders]
        optionalClientScopes: [address]
        protocolMappers:
          - name: audience
            protocol: openid-connect
            protocolMapper: oidc-audience-mapper
            config: {included.custom.audience: api, access.token.claim: "true"}
      - clientId: api
        secret: correct-horse-battery-staple
        serviceAccountsEnabled: true
    roles:
      realm:
        - name: auditor
          description: Reads
          attributes: {level: ["1"]}
        - name: boss
          composites: {realm: [auditor], client: {portal: [viewer], account: [view-profile]}}
      client:
        portal:
          - name: viewer
          - name: editor
            composites: {client: {portal: [viewer]}}
    groups:
      - name: staff
        attributes: {site: [hq]}
        realmRoles: [auditor]
        clientRoles: {portal: [viewer]}
        subGroups:
          - name: emea
            realmRoles: [boss]
          - name: a/b
    defaultGroups: [/staff/emea]
    defaultOptionalClientScopes: [address, phone, offline_access, orders]
    defaultRole: {composites: {realm: [offline_access, uma_authorization, auditor], client: {account: [view-profile]}}}
`

func TestSecondPassFindsNothingAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	report := w.settled(realm(everything))
	t.Log(text(report))
}
