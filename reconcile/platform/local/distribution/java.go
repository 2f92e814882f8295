package distribution

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Java is one that can run a distribution.
type Java struct {
	Path  string // of the program
	Major int    // 17, 21, 25
}

// findJava finds the first one that is new enough for a distribution: JAVA_HOME, the PATH, /usr/lib/jvm.
func findJava(distribution string) (Java, error) {
	least, err := leastJava(distribution)
	if err != nil {
		return Java{}, err
	}
	var homes []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		homes = append(homes, home)
	}
	if path, err := exec.LookPath("java"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			homes = append(homes, filepath.Dir(filepath.Dir(path)))
		}
	}
	return firstJava(append(homes, globbed("/usr/lib/jvm/*")...), least)
}

func firstJava(homes []string, least int) (Java, error) {
	var older []string
	for _, home := range homes {
		j := Java{Path: filepath.Join(home, "bin", "java"), Major: majorOf(home)}
		switch {
		case !exists(j.Path):
		case j.Major >= least:
			return j, nil
		default:
			older = append(older, fmt.Sprintf("%s is Java %d", home, j.Major))
		}
	}
	found := ""
	if len(older) > 0 {
		found = " (" + strings.Join(slices.Compact(older), ", ") + ")"
	}
	return Java{}, fmt.Errorf("this Keycloak needs Java %d or newer, and there is none in JAVA_HOME, on the PATH or in /usr/lib/jvm%s; install one, such as openjdk-21-jre-headless", least, found)
}

// majorOf reads which Java a home holds, from the file that each has; 0 where it has none.
func majorOf(home string) int {
	text, err := os.ReadFile(filepath.Join(home, "release"))
	if err != nil {
		return 0
	}
	m := javaVersion.FindSubmatch(text)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(string(m[1]))
	return major
}

var javaVersion = regexp.MustCompile(`(?m)^JAVA_VERSION="(\d+)`)

// leastJava is the oldest Java that knows the classes of a distribution.
func leastJava(distribution string) (int, error) {
	jar := filepath.Join(distribution, "lib", "quarkus-run.jar")
	if found := globbed(filepath.Join(distribution, "lib", "lib", "main", "org.keycloak.keycloak-quarkus-server-*.jar")); len(found) > 0 {
		jar = found[0]
	}
	files, err := zip.OpenReader(jar)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", jar, err)
	}
	defer files.Close()
	for _, f := range files.File {
		if strings.HasSuffix(f.Name, ".class") && !strings.HasPrefix(f.Name, "META-INF/") {
			return classVersion(f)
		}
	}
	return 0, fmt.Errorf("read %s: it holds no class", jar)
}

// classVersion is the oldest Java that knows a class.
func classVersion(f *zip.File) (int, error) {
	in, err := f.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil || binary.BigEndian.Uint32(head[:]) != classMagic {
		return 0, errors.New(f.Name + " is no class")
	}
	return javaOf(binary.BigEndian.Uint16(head[6:])), nil
}

const classMagic = 0xCAFEBABE

// javaOf is the Java that introduced a version of class files: 17 for 61.
func javaOf(class uint16) int { return int(class) - 44 }

// arguments are those that kc.sh would start java with. Kc.sh itself resolves symbolic links, and so takes the build for the
// home, and stands between us and the server's process.
func (j Java) arguments(built, home string, spec Spec, jvm []string, verb ...string) []string {
	args := []string{"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"}
	args = append(args, javaOptions(spec)...)
	args = append(args,
		"-Dkc.home.dir="+home, "-Djboss.server.config.dir="+filepath.Join(home, "conf"),
		"-Djava.util.logging.manager=org.jboss.logmanager.LogManager", "-Dpicocli.disable.closures=true", "-Dquarkus-log-max-startup-records=10000")
	args = append(args, jvm...)
	args = append(args, "-cp", filepath.Join(built, "lib", "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint")
	return append(args, verb...)
}

// javaVariables are those by which kc.sh lets its options of java be replaced, or more be added.
var javaVariables = []string{"JAVA_OPTS", "JAVA_OPTS_APPEND", "JAVA_OPTS_KC_HEAP", "JAVA_ADD_OPENS", "JAVA_LOCALE"}

// javaOptions are kc.sh's, with a heap that fits into the memory, and the collector that costs least where that is small.
func javaOptions(spec Spec) []string {
	given := func(name string, instead ...string) []string {
		for _, v := range spec.Env {
			if value, ok := strings.CutPrefix(v, name+"="); ok && value != "" {
				return words(value)
			}
		}
		return instead
	}
	size := []string{"-Xms64m", "-Xmx512m"}
	if most, err := heap(spec.Memory); err == nil {
		size[1] = "-Xmx" + strconv.FormatInt(most>>20, 10) + "m"
	}
	collector := []string{"-XX:+UseG1GC"}
	if spec.Memory > 0 && spec.Memory < 1<<30 {
		collector = []string{"-XX:+UseSerialGC"}
	}
	usual := slices.Concat([]string{"-XX:MetaspaceSize=96M", "-XX:MaxMetaspaceSize=256m",
		"-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8", "-Dsun.err.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Dstderr.encoding=UTF-8",
		"-XX:+ExitOnOutOfMemoryError", "-Djava.security.egd=file:/dev/urandom"}, collector,
		[]string{"-XX:FlightRecorderOptions=stackdepth=512", "-Djdk.tls.rejectClientInitiatedRenegotiation=true"}, given("JAVA_OPTS_KC_HEAP", size...))
	return slices.Concat(given("JAVA_OPTS", usual...),
		given("JAVA_ADD_OPENS", "--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
			"--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED", "--enable-native-access=ALL-UNNAMED"),
		given("JAVA_LOCALE", "-Duser.language=en", "-Duser.country=US"), given("JAVA_OPTS_APPEND"))
}

// heap is how much of the memory that a node may take its heap may be: the JVM itself takes some 200 MB beside it.
func heap(memory int64) (int64, error) {
	const beside, least = 256 << 20, 192 << 20
	if memory == 0 {
		return 512 << 20, nil
	}
	most := min(memory*7/10, memory-beside)
	if most < least {
		return 0, fmt.Errorf("%d MiB are too few: Keycloak takes %d MiB at least", memory>>20, (beside+least)>>20)
	}
	return most, nil
}

// words splits as xargs does: at blanks, but not within quotes or after a backslash.
func words(text string) (out []string) {
	var word strings.Builder
	var quote rune
	in, escaped := false, false
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\\':
			in, escaped = true, true
		case r == '\'' || r == '"':
			in, quote = true, r
		case r == ' ' || r == '\t' || r == '\n':
			if in {
				out = append(out, word.String())
				word.Reset()
			}
			in = false
		default:
			in = true
			word.WriteRune(r)
		}
	}
	if in {
		out = append(out, word.String())
	}
	return out
}
