package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/schema"
)

// cli is one invocation of the program.
type cli struct {
	in        io.Reader
	out, errs io.Writer // neither lets a known secret through
	secrets   *secrets
	progress  *progress
	paint     drift.Paint // for out
	paintErrs drift.Paint
	log       *slog.Logger
	flags     flags
	said      []schema.Problem // those that were printed
	typed     []string         // the flags that stand on the command line
	drivers   map[string]opener
}

// flags are the values of all flags; a verb reads those that it has.
type flags struct {
	output, logFormat, logLevel string
	noColor                     bool

	server, authRealm, user, passwordFile string
	clientID, clientSecretFile, ca        string
	fingerprintKeyFile                    string
	perSecond                             float64
	inFlight                              int
	patience                              time.Duration

	serverName, secretsDir, version, merge, environment, against string
	substitute                                                   []string

	source, out, outputs, restoreKeyFile    string
	restoreRecipients                       []string
	restoreKeep                             time.Duration
	realms                                  []string
	detailedExitCode, dryRun, realmDeletion bool
	repository, branch, path                string
	gitUser, gitTokenFile, stateDir         string
	sshKeyFile                              string
	knownHosts                              []string
	interval                                time.Duration
	schedule, forge, forgeURL               string
	forgeTokenFile                          string
	statusPrefix                            string
	once, notes                             bool
	config, metricsAddress                  string
}

func newCLI(in io.Reader, out, errs io.Writer) *cli {
	c := &cli{in: in, secrets: &secrets{}, paint: plain, paintErrs: plain, drivers: map[string]opener{"local": openLocal}}
	c.progress = &progress{terminal: errs}
	c.out = redacting{out, c.secrets}
	c.errs = redacting{c.progress, c.secrets}
	c.log = slog.New(slog.DiscardHandler)
	return c
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "cloakwork",
		Short: "Keep Keycloak as a git repository declares it",
		Long: "Cloakwork reads manifests of Keycloak realms, shows how a server differs from them, and makes it as declared.\n\n" +
			"Every flag can be given as an environment variable: --server-name is CLOAKWORK_SERVER_NAME. The connection also\n" +
			"takes KEYCLOAK_URL, KEYCLOAK_USER, KEYCLOAK_PASSWORD, KEYCLOAK_CLIENT_ID, KEYCLOAK_CLIENT_SECRET and KEYCLOAK_REALM.",
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		Args:                       cobra.ArbitraryArgs,
		RunE:                       usage,
		PersistentPreRunE:          func(cmd *cobra.Command, _ []string) error { return c.prepare(cmd) },
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.errs)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return advised{err, cmd.CommandPath() + " --help lists the flags"}
	})
	f := root.PersistentFlags()
	f.StringVarP(&c.flags.output, "output", "o", "text", "form of the output: text, json or markdown")
	f.StringVar(&c.flags.logFormat, "log-format", "text", "form of the log: text or json")
	f.StringVar(&c.flags.logLevel, "log-level", "", "least level that is logged: debug, info, warn or error (default warn, run: info)")
	f.BoolVar(&c.flags.noColor, "no-color", false, "no colours, also on a terminal")
	root.AddCommand(c.validate(), c.plan(), c.apply(), c.drift(), c.explain(), c.export(), c.run(), c.status(), c.failover(), c.resume(), c.rollback(), c.restore(), c.diagnose(), c.dataplane(), c.version(), c.action(), c.docs())
	return root
}

// usage answers a command line without a verb.
func usage(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	h := cmd.CommandPath() + " --help lists the verbs"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		h = "did you mean " + near[0] + "?"
	}
	return advise(h, "%q is not a verb", args[0])
}

// prepare reads the environment, and sets up what all verbs use.
func (c *cli) prepare(cmd *cobra.Command) error {
	c.secrets.add(os.Getenv("KEYCLOAK_PASSWORD"), os.Getenv("KEYCLOAK_CLIENT_SECRET"), os.Getenv("CLOAKWORK_PASSWORD"),
		os.Getenv("CLOAKWORK_CLIENT_SECRET"), os.Getenv("CLOAKWORK_FINGERPRINT_KEY"), os.Getenv("CLOAKWORK_RESTORE_KEY"), os.Getenv("CLOAKWORK_GIT_TOKEN"),
		os.Getenv("CLOAKWORK_FORGE_TOKEN"), os.Getenv("CLOAKWORK_GIT_SSH_KEY"))
	cmd.Flags().Visit(func(f *pflag.Flag) { c.typed = append(c.typed, f.Name) })
	if err := fromEnvironment(cmd.Flags()); err != nil {
		return err
	}
	for flag, allowed := range map[string][]string{
		"output": {"text", "json", "markdown"}, "log-format": {"text", "json"}, "log-level": {"", "debug", "info", "warn", "error"},
		"merge": {"error", "last"}, "forge": append([]string{"none", "auto"}, status.Kinds...),
	} {
		if err := oneOf(cmd.Flags(), flag, allowed); err != nil {
			return err
		}
	}
	if !c.flags.noColor {
		c.colour()
	}
	c.log = c.logger(cmd)
	return nil
}

// synonyms are names that people's environments have already.
var synonyms = map[string][]string{
	"server":     {"KEYCLOAK_URL"},
	"user":       {"KEYCLOAK_USER"},
	"client-id":  {"KEYCLOAK_CLIENT_ID", "KEYCLOAK_CLIENTID"},
	"auth-realm": {"KEYCLOAK_REALM"},
}

// variable is the environment's name of a flag.
func variable(flag string) string {
	return "CLOAKWORK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that the command line leaves out.
func fromEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || err != nil {
			return
		}
		for _, name := range append([]string{variable(f.Name)}, synonyms[f.Name]...) {
			value, ok := os.LookupEnv(name)
			if !ok || value == "" {
				continue
			}
			if bad := flags.Set(f.Name, value); bad != nil {
				err = fmt.Errorf("%s: %w", name, bad)
			}
			return
		}
	})
	return err
}

func oneOf(flags *pflag.FlagSet, name string, allowed []string) error {
	f := flags.Lookup(name)
	if f == nil {
		return nil
	}
	for _, a := range allowed {
		if f.Value.String() == a {
			return nil
		}
	}
	return advise("give one of: "+strings.Trim(strings.Join(allowed, ", "), ", "), "--%s: %q is not known", name, f.Value.String())
}

func (c *cli) logger(cmd *cobra.Command) *slog.Logger {
	level := slog.LevelWarn
	if cmd.Name() == "run" {
		level = slog.LevelInfo
	}
	if c.flags.logLevel != "" {
		_ = level.UnmarshalText([]byte(c.flags.logLevel)) // one of the four that are allowed
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: spelled}
	if c.flags.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(c.errs, options))
	}
	return slog.New(slog.NewTextHandler(c.errs, options))
}

// spelled makes JSON show a realm as text does.
func spelled(_ []string, a slog.Attr) slog.Attr {
	if s, ok := a.Value.Any().(fmt.Stringer); ok && a.Value.Kind() == slog.KindAny {
		a.Value = slog.StringValue(s.String())
	}
	return a
}

// connectionFlags say which Keycloak, and as whom.
func (c *cli) connectionFlags(f *pflag.FlagSet) {
	f.StringVar(&c.flags.server, "server", "", "URL of Keycloak (also KEYCLOAK_URL)")
	f.StringVar(&c.flags.user, "user", "", "who signs in (also KEYCLOAK_USER)")
	f.StringVar(&c.flags.passwordFile, "password-file", "", "file with the user's password (or KEYCLOAK_PASSWORD)")
	f.StringVar(&c.flags.clientID, "client-id", "", "client that signs in, or that the user signs in through (default admin-cli; also KEYCLOAK_CLIENT_ID)")
	f.StringVar(&c.flags.clientSecretFile, "client-secret-file", "", "file with the client's secret (or KEYCLOAK_CLIENT_SECRET)")
	f.StringVar(&c.flags.authRealm, "auth-realm", "", "realm to sign in to (default master; also KEYCLOAK_REALM)")
	f.StringVar(&c.flags.fingerprintKeyFile, "fingerprint-key-file", "", "file with the key by which changed secrets are told that Keycloak doesn't show (or CLOAKWORK_FINGERPRINT_KEY)")
	f.StringVar(&c.flags.ca, "ca", "", "file with PEM certificates to trust besides the system's")
	f.Float64Var(&c.flags.perSecond, "max-requests-per-second", 0, "requests a second at most (default no limit)")
	f.IntVar(&c.flags.inFlight, "in-flight", 4, "requests at the same time at most")
	f.DurationVar(&c.flags.patience, "patience", 20*time.Second, "how long a server that doesn't answer is asked again")
}

// manifestFlags say how manifests are read.
func (c *cli) manifestFlags(f *pflag.FlagSet) {
	f.StringVar(&c.flags.serverName, "server-name", "", "name of the server in manifests (default what spec.server says, if all agree)")
	f.StringSliceVar(&c.flags.substitute, "substitute", nil, "pattern of the variables that $(env:…) may name, repeatable (default all but the forbidden; run: none)")
	f.StringVar(&c.flags.secretsDir, "secrets-dir", "", "folder where $(file:…) is looked for besides the configuration")
	f.StringVar(&c.flags.version, "keycloak-version", "", "version of Keycloak to check manifests against (default the newest known)")
	f.StringVar(&c.flags.merge, "merge", "error", "of two values for one field: error, or last: the later file's holds")
	f.StringVar(&c.flags.environment, "environment", "", "environment whose layers are read, where manifests of kind Environment declare some")
}

// sourceFlags say what a realm's ledger knows the manifests by, and which realms are meant.
func (c *cli) sourceFlags(f *pflag.FlagSet) {
	f.StringVar(&c.flags.source, "source", "", "name of the source that owns what these manifests declare (default the git origin, or the folder)")
	f.StringSliceVar(&c.flags.realms, "realm", nil, "only this realm, repeatable")
}

// stateFlags say where the controller's configuration stands, and what it keeps.
func (c *cli) stateFlags(f *pflag.FlagSet) {
	f.StringVar(&c.flags.config, "config", "", "file with the controller's configuration: servers, sources, destinations")
	f.StringVar(&c.flags.stateDir, "state-dir", "", "folder for what the controller keeps (default what the configuration says, or one in the user's cache)")
}
