// Package drift says how the live system differs from what is declared: Compare lists the changes, a Report carries
// what one pass found and did.
package drift

import (
	"time"

	"github.com/cloakwork/cloakwork/schema"
)

// Op is what a change does to one object.
type Op string

// The operations.
const (
	Create Op = "create"
	Update Op = "update"
	Delete Op = "delete"
	Rename Op = "rename"
)

// Cause is why live and declared differ.
type Cause string

// The causes.
const (
	FromCommit Cause = "commit"  // the declaration moved
	FromDrift  Cause = "drift"   // the server moved
	FromBoth   Cause = "both"    // both moved
	FromInput  Cause = "input"   // a substituted value differs, and git doesn't say which side moved
	Unknown    Cause = "unknown" // what was last applied can't be read, or told
)

// Outcome is how a change ended.
type Outcome string

// The outcomes; a change that was only planned has none.
const (
	Done    Outcome = "done"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
	// Withheld is a delete that would take somebody else's objects along.
	Withheld Outcome = "withheld"
)

// Risk is a class of harm that a change can do.
type Risk string

// The risks.
const (
	Deletes       Risk = "deletes"
	Recreates     Risk = "recreates"
	EndsSessions  Risk = "ends sessions"
	BreaksLogins  Risk = "breaks logins"
	AsksAgain     Risk = "asks people again"
	WeakensSafety Risk = "weakens security"
	CutsOwnAccess Risk = "cuts own access"
)

// Change is one difference and what removes it.
type Change struct {
	Op         Op
	Cause      Cause
	Address    schema.Address
	From       schema.Address // renames only: where the object stands now
	Want, Have schema.Object
	Diffs      []Diff // what differs, by path; all that is declared where the object is to be made, nothing where it goes
	Risk       []Risk
	Outcome    Outcome
	By         Writer // who made the server differ; zero where that isn't known
	Says       string // why it failed or was skipped, or a hint for the plan
	Lacks      string // the role whose lack was why it failed
}

// Writer is who wrote an object last, as the server recorded it.
type Writer struct {
	Name  string // the user's, or that of the client that signed in by itself; "" where the server doesn't tell
	ID    string // the user's, or that of the client's service account
	Realm string // where they signed in
	IP    string
	At    time.Time
	Did   string // create, update, delete or action
}

// Diff is one field that differs. Want nil with Unset means that the field, or map key, goes.
type Diff struct {
	Path       string   // attributes.pkce.code.challenge.method
	At         []string // the same, key by key: keys may hold dots
	Want, Have any
	Cause      Cause
	Unset      bool
	Secret     bool // its values are never shown
	Unseen     bool // Keycloak shows asterisks in place of what it has
}

// Verdict is what a pass comes to.
type Verdict string

// The verdicts.
const (
	InSync      Verdict = "in sync"
	Pending     Verdict = "pending"
	Drifted     Verdict = "drifted"
	Progressing Verdict = "progressing"
	Blocked     Verdict = "blocked"
	Errored     Verdict = "failed"
	Superseded  Verdict = "superseded"
	Suspended   Verdict = "suspended"
	Differs     Verdict = "differs" // of a declaration that is held against another
)

// Report is what one pass found and did.
type Report struct {
	Commit, Server, Realm, Deployment string
	Verdict                           Verdict
	Says                              string // one sentence, at most 140 characters: it is the commit status
	Hint                              string // what to do about it, "" where nothing is
	Objects                           int    // how many are declared
	Changes                           []Change
	Unseen                            []Unseen // declared values that Keycloak doesn't show, but for those that Changes write
	Blind                             []string // kinds of declared objects that the account can't see, and so weren't compared
	Problems                          []schema.Problem
	Steps                             []Step   // of a deployment: what lies ahead, the step under way first
	Log                               string   // the last lines of a node that failed
	Notes                             []string // what a reader should know beside that, and a commit's status needn't say
	Later                             []Later  // what another pass will remove; no change is open because of it
	Began, Ended                      time.Time
}

// Later is something that is no longer declared, and is removed after a time: people may still be using it.
type Later struct {
	Address schema.Address
	After   time.Time
}
