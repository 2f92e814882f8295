package schema

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
	"github.com/robfig/cron/v3"
)

const (
	apiVersion   = "cloakwork.dev/v1alpha1"
	apiGroup     = "cloakwork.dev"
	operatorAPI  = "k8s.keycloak.org"
	defaultDrift = "correct"
)

var manifestKinds = []string{"Realm", "Deployment", "Environment"}

// document finds out what a document is, and reads it as that.
func (l *loader) document(doc document) {
	start := doc.at(doc.root, Origin{File: doc.name, Line: 1, Column: 1})
	root, ok := doc.root.(*ast.StructLit)
	if !ok {
		if doc.named {
			l.problem(problemf(start, "a manifest begins with apiVersion: "+apiVersion, "is not a manifest"))
		}
		return
	}
	top := doc.members(root)
	api, hasAPI := text(top, "apiVersion")
	kind, hasKind := text(top, "kind")
	_, bare := top["realm"]
	group, _, _ := strings.Cut(api, "/")
	switch {
	case strings.HasPrefix(api, sealedPrefix), strings.HasPrefix(kind, sealedPrefix):
		l.problem(problemf(start, sealedHint, "apiVersion and kind are encrypted, and what is written is to be compared"))
	case strings.Contains(api+kind, "$("):
		l.problem(problemf(start, "write them out", "apiVersion and kind can't come from $(…)"))
	case api == apiVersion && kind == "Realm":
		l.realmManifest(doc, root)
	case api == apiVersion && kind == "Deployment":
		l.deploymentManifest(doc, root)
	case api == apiVersion && kind == "Environment":
		if doc.evaluated { // others have been read
			l.problem(problemf(start, "write it in YAML: environments are read before anything is evaluated", "an Environment can't be written in CUE"))
		}
	case api == apiVersion:
		o := doc.origin(top, "kind", start)
		l.problem(problemf(o, didYouMean(kind, manifestKinds), "kind %q is not one of Realm, Deployment, Environment", kind))
	case group == operatorAPI && kind == "KeycloakRealmImport":
		l.realmImport(doc, top, start)
	case group == apiGroup, hasAPI && slices.Contains(manifestKinds, kind) && misspelling(api, apiVersion) <= 3:
		o := doc.origin(top, "apiVersion", start)
		l.problem(problemf(o, "did you mean "+apiVersion+"?", "apiVersion %q is not known to this version of cloakwork", api))
	case !hasAPI && !hasKind && bare:
		l.bareRealm(doc, root, top, start)
	case !hasAPI && !hasKind && Suggest("apiVersion", slices.Collect(maps.Keys(top))) != "":
		name := Suggest("apiVersion", slices.Collect(maps.Keys(top)))
		l.problem(problemf(doc.origin(top, name, start), "did you mean apiVersion?", "%s is not a field of a manifest", name))
	case !hasAPI && slices.Contains(manifestKinds, kind):
		l.problem(problemf(start, "write apiVersion: "+apiVersion, "has no apiVersion"))
	case doc.named:
		l.problem(problemf(start, "a manifest begins with apiVersion: "+apiVersion, "is not a manifest"))
	case hasAPI:
		p := problemf(start, "", "is not a manifest of cloakwork (%s), left out", strings.Trim(api+" "+kind, " "))
		p.Warning = true
		l.problem(p)
	}
}

// members are the fields of a struct by name, as far as they can be told apart: a look before the walk.
func (d document) members(s *ast.StructLit) map[string]*ast.Field {
	fields := map[string]*ast.Field{}
	for _, e := range s.Elts {
		if f, ok := e.(*ast.Field); ok {
			if name, _, err := ast.LabelName(f.Label); err == nil && fields[name] == nil {
				fields[name] = f
			}
		}
	}
	return fields
}

// origin is where the value of a member stands.
func (d document) origin(members map[string]*ast.Field, name string, otherwise Origin) Origin {
	if f := members[name]; f != nil {
		return d.at(f.Value, d.at(f.Label, otherwise))
	}
	return otherwise
}

// text is the string that a member holds.
func text(members map[string]*ast.Field, name string) (string, bool) {
	f, ok := members[name]
	if !ok {
		return "", false
	}
	if lit, ok := f.Value.(*ast.BasicLit); ok {
		return spelled(lit), true
	}
	return "", true
}

func below(d document, members map[string]*ast.Field, name string) map[string]*ast.Field {
	if f := members[name]; f != nil {
		if s, ok := f.Value.(*ast.StructLit); ok {
			return d.members(s)
		}
	}
	return nil
}

// realmManifest reads a document of kind Realm.
func (l *loader) realmManifest(doc document, root *ast.StructLit) {
	top := doc.members(root)
	start := doc.at(root, Origin{File: doc.name, Line: 1, Column: 1})
	spec := below(doc, top, "spec")
	ref := RealmRef{Server: l.options.Server}
	ref.Realm, _ = text(below(doc, top, "metadata"), "name")
	for _, name := range []string{"deployment", "server"} {
		if s, ok := text(spec, name); ok {
			ref.Server = s
		}
	}
	named := doc.origin(below(doc, top, "metadata"), "name", doc.origin(top, "metadata", start))
	w := l.walker(doc, ref, false)
	if ref.Realm == "" || ref.Server == "" || strings.Contains(ref.Realm+ref.Server, "$(") {
		w.realm = nil // what this document declares might be anyone's: nothing may take it for gone
	}
	if ref.Realm == "" {
		w.problem(named, "write metadata: {name: the realm's name}", "metadata.name is missing: it names the realm")
	}
	_, served := spec["server"]
	_, deployed := spec["deployment"]
	switch {
	case served && deployed:
		w.problem(doc.origin(spec, "deployment", start), "keep one", "spec.deployment and spec.server both name a server")
	case ref.Server == "" && !w.wrongType(spec["server"]) && !w.wrongType(spec["deployment"]):
		w.problem(doc.origin(top, "spec", start), "write spec.server, or give --server-name", "spec.server is missing: it names the server of realm %s", ref.Realm)
	}
	o := Object{Origins: map[string]Origin{}, Inputs: map[string]bool{}}
	envelope := w.envelope(&o, "RealmManifest", root)
	realm := &Realm{Ref: ref, Origin: named, State: State{}, Complete: map[Address]bool{}}
	settings, _ := envelope["spec"].(map[string]any)
	w.settings(realm, settings, o, start)
	switch f := spec["realm"]; {
	case f == nil: // settings alone: what the realm holds stands in other documents
	case null(f.Value):
		realm.Absent = true
	default:
		w.root(realm, f.Value, "spec.realm", doc.at(f.Value, doc.at(f.Label, start)))
	}
	w.finish(realm)
}

// wrongType tells whether a field is there and holds no scalar, which is said where it is read.
func (w *walker) wrongType(f *ast.Field) bool {
	if f == nil {
		return false
	}
	_, _, ok := w.scalarText(f.Value)
	return !ok
}

// bareRealm reads a RealmRepresentation that stands alone, as exports do.
func (l *loader) bareRealm(doc document, root *ast.StructLit, top map[string]*ast.Field, start Origin) {
	name, _ := text(top, "realm")
	l.representation(doc, root, name, doc.origin(top, "realm", start), nil)
}

// realmImport reads the operator's KeycloakRealmImport.
func (l *loader) realmImport(doc document, top map[string]*ast.Field, start Origin) {
	spec := below(doc, top, "spec")
	realm := below(doc, spec, "realm")
	if realm == nil {
		l.problem(problemf(doc.origin(top, "spec", start), "", "spec.realm is missing: it holds the realm"))
		return
	}
	placeholders := []string{}
	for name := range below(doc, spec, "placeholders") {
		placeholders = append(placeholders, name)
	}
	name, _ := text(realm, "realm")
	l.representation(doc, spec["realm"].Value, name, doc.origin(realm, "realm", doc.origin(spec, "realm", start)), placeholders)
}

func (l *loader) representation(doc document, root ast.Expr, name string, named Origin, placeholders []string) {
	ref := RealmRef{Server: l.options.Server, Realm: name}
	w := l.walker(doc, ref, true)
	w.placeholders = placeholders
	if name == "" || strings.Contains(name, "$(") {
		w.realm = nil
		w.problem(named, "write the name itself", "realm names no realm")
		return
	}
	if ref.Server == "" {
		w.realm = nil
		w.problem(named, "give --server-name", "names no server for realm %s", name)
	}
	realm := &Realm{Ref: ref, Origin: named, State: State{}, Complete: map[Address]bool{}}
	w.settings(realm, nil, Object{}, named)
	w.root(realm, root, "spec.realm", named)
	w.finish(realm)
}

// envelope reads what stands around a realm or deployment.
func (w *walker) envelope(o *Object, definition string, root *ast.StructLit) map[string]any {
	f := w.definitions.forms["#"+definition]
	w.noun = "a manifest"
	fields := map[string]any{}
	w.inEnvelope = true
	w.members(o, f, root, fields, "", "", w.document.at(root, Origin{File: w.document.name}))
	w.inEnvelope = false
	w.check(f, fields, "")
	return fields
}

// unsettled is a realm of which no manifest declares a setting.
func unsettled(o Origin) *Realm {
	return &Realm{Drift: defaultDrift, Limits: Limits{Deletes: Limit{Count: 10}, Changes: Limit{Count: 30, Percent: true}, Risks: map[string]int{}, Origin: o}}
}

// settings takes over what spec says besides the realm.
func (w *walker) settings(r *Realm, spec map[string]any, o Object, start Origin) {
	at := func(path string) Origin {
		if p, ok := w.places["spec."+path]; ok {
			return p.Origin
		}
		return start
	}
	unset := unsettled(start)
	r.Limits, r.Drift = unset.Limits, unset.Drift
	if drift, ok := spec["drift"].(string); ok {
		r.Drift = drift
		w.origins["drift"] = at("drift")
	}
	if schedule, ok := spec["schedule"].(string); ok {
		if _, err := cron.ParseStandard(schedule); err != nil {
			w.problem(at("schedule"), `write the five fields of cron, such as "*/5 * * * *"`, "spec.schedule: %s is not a schedule", w.quote(&o, "spec.schedule", schedule))
		}
		r.Schedule = schedule
		w.origins["schedule"] = at("schedule")
	}
	lists := w.definitions.openLists()
	exclusive, declared := spec["exclusive"].([]any)
	if declared {
		w.origins["exclusive"] = at("exclusive")
	}
	for i, name := range exclusive {
		name, _ := name.(string)
		if !slices.Contains(lists, name) {
			hint := didYouMean(name, lists)
			if hint == "" {
				hint = "write some of " + strings.Join(lists, ", ")
			}
			w.problem(at(index("exclusive", i)), hint, "spec.exclusive: %s is not an open list that is managed", w.quote(&o, "spec.exclusive", name))
			continue
		}
		r.Complete[Join(RealmAddress, name)] = true
		w.complete[r.Ref] = append(w.complete[r.Ref], Join(RealmAddress, name))
	}
	if limits, ok := spec["limits"].(map[string]any); ok {
		r.Limits.Origin = at("limits")
		w.origins["limits"] = r.Limits.Origin
		w.limit(&r.Limits.Deletes, limits, "deletes", r, o, at)
		w.limit(&r.Limits.Changes, limits, "changes", r, o, at)
		risks, _ := limits["risks"].(map[string]any)
		for name, n := range risks {
			if n, ok := n.(float64); ok {
				r.Limits.Risks[name] = int(n)
				w.origins["limits.risks."+name] = at("limits.risks." + name)
			}
		}
	}
	if r.Suspend = w.suspension(spec, o, at); r.Suspend != nil {
		w.origins["suspend"] = at("suspend")
	}
}

// suspension is what spec.suspend says, nil where it says nothing.
func (w *walker) suspension(spec map[string]any, o Object, at func(string) Origin) *Suspend {
	suspend, ok := spec["suspend"].(map[string]any)
	if !ok {
		return nil
	}
	s := &Suspend{}
	s.Reason, _ = suspend["reason"].(string)
	if until, ok := suspend["until"].(string); ok {
		t, err := time.Parse(time.RFC3339, until)
		if err != nil {
			w.problem(at("suspend.until"), "write it as 2026-12-01T08:00:00Z", "spec.suspend.until: %s is not a time", w.quote(&o, "spec.suspend.until", until))
		}
		s.Until = t
	}
	return s
}

var share = regexp.MustCompile(`^([0-9]{1,9})(%?)$`)

// limit takes over one bound: a number of objects, or a share of them.
func (w *walker) limit(l *Limit, limits map[string]any, name string, r *Realm, o Object, at func(string) Origin) {
	v, ok := limits[name]
	if _, reference := v.(written); !ok || reference {
		return
	}
	s, ok := v.(string)
	if n, number := v.(float64); number {
		s, ok = strconv.FormatFloat(n, 'f', -1, 64), true
	}
	match := share.FindStringSubmatch(s)
	if !ok || match == nil {
		w.problem(at("limits."+name), "write a number of objects, or a share of them such as 30%", "spec.limits.%s: %s is not a limit", name, w.quote(&o, "spec.limits."+name, s))
		return
	}
	l.Count, _ = strconv.Atoi(match[1])
	l.Percent = match[2] != ""
	w.origins["limits."+name] = at("limits." + name)
}

// openLists are the lists of a realm that are open unless a manifest calls them exclusive.
func (d *definitions) openLists() []string {
	var names []string
	for name, k := range d.kinds {
		if len(k.Key) > 0 && slices.Contains(k.In, "realm") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func null(n ast.Expr) bool {
	lit, ok := n.(*ast.BasicLit)
	return ok && lit.Kind == token.NULL
}
