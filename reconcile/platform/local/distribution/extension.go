package distribution

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// examine looks into the extensions: wrong is what Keycloak would stumble over, told what is odd. Nothing of them runs.
func examine(extensions []Jar, distribution string, java Java) (wrong, told []string, err error) {
	var jars []*jar
	owners := map[string]string{} // class → extension
	for _, e := range extensions {
		j, problem := open(e)
		if problem != "" {
			wrong = append(wrong, "extension "+e.Name+": "+problem)
			continue
		}
		jars = append(jars, j)
		twice := map[string][]string{}
		for class := range j.classes {
			if other, taken := owners[class]; taken {
				twice[other] = append(twice[other], class)
			}
			owners[class] = e.Name
		}
		for other, classes := range twice {
			slices.Sort(classes)
			told = append(told, fmt.Sprintf("extensions %s and %s both bring %s: which one is used is not said", other, e.Name, few(classes)))
		}
	}
	slices.Sort(told)
	if len(jars) == 0 {
		return wrong, told, nil
	}
	keycloak, err := classesOf(distribution)
	if err != nil {
		return nil, nil, err
	}
	known := func(class string) bool { return owners[class] != "" || keycloak[class] }
	for _, j := range jars {
		for _, problem := range slices.Concat(j.tooNew(java), j.services(known, path.Base(distribution)), j.themes()) {
			wrong = append(wrong, "extension "+j.name+": "+problem)
		}
	}
	return wrong, told, nil
}

func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// jar is an extension that could be opened.
type jar struct {
	name    string
	files   []*zip.File
	classes map[string]*zip.File // by name, dots between its parts
}

// open reads the directory of a jar.
func open(e Jar) (*jar, string) {
	reader, err := zip.NewReader(bytes.NewReader(e.Content), int64(len(e.Content)))
	if err != nil {
		return nil, "it is no jar: " + err.Error()
	}
	if !strings.HasSuffix(e.Name, ".jar") {
		return nil, "its name doesn't end in .jar, so that Keycloak would not see it"
	}
	j := &jar{name: e.Name, files: reader.File, classes: map[string]*zip.File{}}
	for _, f := range reader.File {
		if strings.HasPrefix(f.Name, "/") || strings.Contains(f.Name, `\`) || slices.Contains(strings.Split(f.Name, "/"), "..") {
			return nil, fmt.Sprintf("its entry %q leads out of it", f.Name)
		}
		if class, ok := className(f.Name); ok {
			j.classes[class] = f
		}
	}
	return j, ""
}

// className is the class that an entry of a jar holds.
func className(entry string) (string, bool) {
	name, ok := strings.CutSuffix(entry, ".class")
	return strings.ReplaceAll(name, "/", "."), ok && !strings.HasPrefix(name, "META-INF/") && path.Base(name) != "module-info"
}

// tooNew names the classes that the JVM doesn't know yet.
func (j *jar) tooNew(java Java) []string {
	var newer []string
	needs := 0
	for class, f := range j.classes {
		version, err := classVersion(f)
		if err != nil {
			return []string{err.Error()}
		}
		if version > java.Major {
			newer = append(newer, class)
			needs = max(needs, version)
		}
	}
	if len(newer) == 0 {
		return nil
	}
	slices.Sort(newer)
	return []string{fmt.Sprintf("%s: made for Java %d, and nodes run on Java %d", few(newer), needs, java.Major)}
}

// services checks that what is offered to ServiceLoader is there, and that Keycloak's own interfaces still are.
func (j *jar) services(known func(class string) bool, version string) (problems []string) {
	for _, f := range j.files {
		dir, offered := path.Split(f.Name)
		if dir != "META-INF/services/" || offered == "" {
			continue
		}
		if !known(offered) && !strings.HasPrefix(offered, "java") {
			if strings.HasPrefix(offered, "org.keycloak.") {
				problems = append(problems, fmt.Sprintf("%s: %s has no such interface: the extension was made for another version", f.Name, version))
			}
			continue // of a library that isn't there, so that nobody will look
		}
		text, err := readEntry(f)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s", f.Name, err))
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; lines.Scan(); n++ {
			class, _, _ := strings.Cut(lines.Text(), "#")
			if class = strings.TrimSpace(class); class != "" && !known(class) {
				problems = append(problems, fmt.Sprintf("%s:%d: the class %s is in none of the extensions", f.Name, n, class))
			} else if class != "" && j.classes[class] != nil {
				problems = append(problems, j.ancestors(class, known, version)...)
			}
		}
	}
	return problems
}

// ancestors checks that what a provider extends and implements is there.
func (j *jar) ancestors(class string, known func(class string) bool, version string) (problems []string) {
	above, err := parents(j.classes[class])
	if err != nil {
		return []string{fmt.Sprintf("%s: %s", class, err)}
	}
	for _, parent := range above {
		if strings.HasPrefix(parent, "org.keycloak.") && !known(parent) {
			problems = append(problems, fmt.Sprintf("%s is a %s, which %s doesn't have: the extension was made for another version", class, parent, version))
		} else if j.classes[parent] != nil {
			problems = append(problems, j.ancestors(parent, known, version)...)
		}
	}
	return problems
}

// themes checks that the themes which a jar offers are in it.
func (j *jar) themes() (problems []string) {
	const list = "META-INF/keycloak-themes.json"
	i := slices.IndexFunc(j.files, func(f *zip.File) bool { return f.Name == list })
	if i < 0 {
		return nil
	}
	text, err := readEntry(j.files[i])
	if err != nil {
		return []string{list + ": " + err.Error()}
	}
	var offered struct {
		Themes []struct {
			Name  string
			Types []string
		}
	}
	if err := json.Unmarshal(text, &offered); err != nil {
		return []string{list + ": " + err.Error()}
	}
	for _, theme := range offered.Themes {
		for _, kind := range theme.Types {
			dir := "theme/" + theme.Name + "/" + kind + "/"
			if !slices.ContainsFunc(j.files, func(f *zip.File) bool { return strings.HasPrefix(f.Name, dir) }) {
				problems = append(problems, fmt.Sprintf("%s: theme %s has no %s, which would stand in %s", list, theme.Name, kind, dir))
			}
		}
	}
	return problems
}

// readEntry reads a small entry, and no more than that of what claims to be one.
func readEntry(f *zip.File) ([]byte, error) {
	const most = 1 << 20
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return text, err
}

// classesOf are the classes of a distribution.
func classesOf(distribution string) (map[string]bool, error) {
	classes := map[string]bool{}
	for _, name := range slices.Concat(globbed(filepath.Join(distribution, "lib", "lib", "*", "*.jar")), globbed(filepath.Join(distribution, "lib", "app", "*.jar"))) {
		reader, err := zip.OpenReader(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for _, f := range reader.File {
			if class, ok := className(f.Name); ok {
				classes[class] = true
			}
		}
		reader.Close()
	}
	return classes, nil
}
