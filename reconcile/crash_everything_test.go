package reconcile_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// theNext is what the second of two commits has in place of the first's words: of every kind there is something changed, and
// something renamed, or deleted and something else added, as far as the kind has that.
var theNext = []string{
	"displayName: Rich\n", "displayName: Richer\n", "team: identity, ", "", "mail secret", "other mail secret", "hello: Hallo", "hello: Moin", "en: {hello: Hello}", "fr: {hello: Salut}",

	"{name: reader, ", "{name: seer, $was: [reader], ", "reader", "seer", "$was: [seer]", "$was: [reader]", "a/b 100%", "c/d 100%", "level: [\"1\"]", "level: [\"2\"]",
	"composites: {realm: [seer], client: {portal: [viewer], account", "composites: {realm: [], client: {portal: [viewer, owner], account",

	"- name: staff\n", "- name: people\n        $was: [staff]\n", "/staff", "/people", "{name: a/b}", "{name: c/d}", "{name: guests}", "{name: guests, attributes: {new: [\"1\"]}}",
	"defaultGroups: [/guests]", "defaultGroups: [/people]", "realmRoles: [writer]}", "realmRoles: [seer]}",

	"name: orders\n", "name: purchases\n        $was: [orders]\n", "clientScope: orders", "clientScope: purchases", "roles, orders", "roles, purchases", "Scopes: [orders]", "Scopes: [purchases, added]",
	"{name: spare, description: Spare", "{name: added, description: Added", "name: site, protocol", "name: place, protocol", "optionalClientScopes: [phone]", "optionalClientScopes: [address]",
	"OptionalClientScopes: [phone]", "OptionalClientScopes: [address]",

	"clientId: portal\n", "clientId: gate\n        $was: [portal]\n", "portal", "gate", "$was: [gate]", "$was: [portal]", "clientId: batch, secret: batch", "clientId: extra, secret: extra",
	"saml.force.post.binding: \"true\"", "saml.force.post.binding: \"false\"", "included.client.audience: api", "included.client.audience: spa",
	"{client: gate, roles: [seer]}", "{client: gate, roles: [writer]}",

	"Mode: PERMISSIVE", "Mode: ENFORCING", "{name: edit}]\n", "{name: write, $was: [edit]}]\n", "{name: edit}", "{name: write}", `'["edit"]'`, `'["write"]'`, "{name: doc, ", "{name: file, $was: [doc], ",
	`'["doc"]'`, `'["file"]'`, "name: page, ", "name: sheet, ", "name: seers, ", "name: seers, $was: [readers], ", `["people","seers"]`, `["people","seers","mails"]`, `hour: "8"`, `hour: "9"`, "name: type permission, ", "name: kind permission, ",
	`'["ann"]'`, `'["anna"]'`, `"id":"orders"`, `"id":"purchases"`,

	"username: ann\n", "username: anna\n        $was: [ann]\n", "username: ann,", "username: anna,", "[/people/emea/paris, /guests]", "[/people]", ", {identityProvider: search, userId: \"18\", userName: ann18}", "",
	"userName: ann17", "userName: anna17", "[\"1\", \"2\"]}\n      - {username: bob", "[\"3\"]}\n      - {username: bob", "cyd", "eve", "[view-users]", "[query-users]",

	"trustEmail: true", "trustEmail: false", "clientSecret: hub secret", "clientSecret: other hub secret", "lias: partner,", "lias: ally,", "syncMode: FORCE", "syncMode: IMPORT",

	"description: The first", "description: The second", ", {name: acme.test, verified: false}", ", {name: acme.net, verified: false}", "alias: empty, name: Empty", "alias: void, name: Void", "empty.example", "void.example", "[/sales/field]", "[/sales]",
	"{name: field}", "{name: area}", "description: Sells", "description: Sells more",

	"description: Ours\n", "description: Still ours\n", "alias: rich direct\n", "alias: rich token\n        $was: [rich direct]\n", "low: rich direct", "low: rich token", "Alias: rich direct", "Alias: rich token",
	"requirement: DISABLED, priority: 30}", "requirement: ALTERNATIVE, priority: 30}", "defaultProvider: hub", "defaultProvider: search",

	"max_auth_age: \"100\"", "max_auth_age: \"200\"", "name: strict, description: Strict", "name: tight, description: Tight", "[strict, ", "[tight, ", "name: partners, description: Partners", "name: friends, description: Friends",

	"hmac-rich", "hmac-richer, $was: [hmac-rich]", "aes-rich", "aes-new", "max-clients: [\"5\"]", "max-clients: [\"6\"]", "a.rich.example, ", "", "name: tickets,", "name: passes,", "name: teams,", "name: crews,",
	"ldap secret", "other ldap secret", `"ADMIN_EDIT"`, `"ENABLED"`,

	"name: leave,", "name: depart, $was: [leave],", "name: nag,", "name: fresh,", "subject: Hi", "subject: Hello",
}

// everyCommit are two commits of the realm with everything in it, which is declared as people do, with limits that let all through.
func (w *world) everyCommit() map[string]string {
	w.t.Helper()
	manifest := ""
	for _, name := range []string{"rich.yaml", "newest.yaml"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			w.t.Fatal(err)
		}
		fields := strings.ReplaceAll(strings.ReplaceAll(string(text), "UNIQUE", w.name[len(w.name)-8:]), "realm: REALM\n", "")
		manifest += "---\n" + spec("  limits: {changes: 100%, deletes: 100%}\n", "    "+strings.ReplaceAll(strings.TrimSpace(fields), "\n", "\n    ")+"\n")
	}
	manifest = strings.ReplaceAll(manifest, "\n    enabled: true\n    #", "\n    #") // the files say it
	next := manifest
	for i := 0; i < len(theNext); i += 2 {
		if !strings.Contains(next, theNext[i]) {
			w.t.Fatalf("the first commit doesn't hold %q", theNext[i])
		}
		next = strings.ReplaceAll(next, theNext[i], theNext[i+1])
	}
	return map[string]string{first: manifest, second: next}
}

func newCrashingEverything(t *testing.T, account string) *crashing {
	t.Helper()
	c := newCrashing(t)
	c.commits, c.account = c.everyCommit(), account
	return c
}

// Every crash heals in a realm with an object of every kind, at each write of its first commit and at each of a second, which
// changes something of every kind. EVERY, a number in the environment, takes one write of so many.
func TestEveryCrashOfEverythingHeals(t *testing.T) {
	every := 1
	if number := os.Getenv("EVERY"); number != "" {
		var err error
		if every, err = strconv.Atoi(number); err != nil || every < 1 {
			t.Fatalf("EVERY is %q, not a number from 1 on", number)
		}
	}
	account := newAccount(t)
	c := newCrashingEverything(t, account)
	made := c.heal(first)
	afterFirst := c.flowView()
	updated := c.heal(second)
	afterSecond := c.flowView()
	t.Logf("the first commit takes %d writes, the second %d", made, updated)
	if t.Failed() {
		return
	}
	for n := 1; n <= max(made, updated); n += every {
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("write %d, %s the server got it", n, cut.name), func(t *testing.T) {
				t.Parallel()
				c := newCrashingEverything(t, account)
				if n <= made {
					c.crash(first, cut.cut, n)
				}
				c.heal(first)
				c.flowsLike("after the first commit", afterFirst)
				if n <= updated {
					c.crash(second, cut.cut, n)
					c.heal(second)
					c.flowsLike("after the second", afterSecond)
				}
			})
		}
	}
}
