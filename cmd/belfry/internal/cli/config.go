package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A setting has one name in three spellings: the flag --offline-ttl, the
// variable BELFRY_OFFLINE_TTL and the YAML key offline-ttl. The flag wins over
// the variable, the variable over the file, the file over the default. A name
// that no command knows is an error, so that a typing error is not a silent
// default.

const (
	EnvPrefix  = "BELFRY_"
	ConfigFlag = "config" // names the YAML file, in which it is no key
	helpFlag   = "help"   // cobra's own; neither variable nor key
)

// EnvName is the variable that sets a flag.
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Configure sets those flags of cmd that the command line did not set, from the
// environment and the file.
func Configure(cmd *cobra.Command, environ []string) error {
	fromEnv, passed, err := loadEnv(cmd.Root(), environ)
	if err != nil {
		return UsageError{err}
	}
	if len(passed) > 0 {
		slices.Sort(passed)
		fmt.Fprintf(cmd.ErrOrStderr(), "belfry: warning: %s: taken for variables of a service of that name, and passed over\n", strings.Join(passed, ", "))
	}
	flags := cmd.Flags()
	if err := fill(flags, fromEnv, EnvName); err != nil {
		return UsageError{err}
	}
	path := flags.Lookup(ConfigFlag)
	if path == nil || path.Value.String() == "" {
		return nil
	}
	fromFile, err := loadFile(path.Value.String(), flags)
	if err != nil {
		return UsageError{err}
	}
	err = fill(flags, fromFile, func(name string) string { return path.Value.String() + ": " + name })
	if err != nil {
		return UsageError{err}
	}
	return nil
}

// fill sets each flag that k has a value for and that is not set yet. where returns
// a setting's name as k's source spells it, for errors.
func fill(flags *pflag.FlagSet, k *koanf.Koanf, where func(string) string) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || f.Name == helpFlag || !k.Exists(f.Name) {
			return
		}
		if e := set(flags, f, k.Get(f.Name)); e != nil {
			err = fmt.Errorf("%s: %w", where(f.Name), e)
		}
	})
	return err
}

func set(flags *pflag.FlagSet, f *pflag.Flag, v any) error {
	switch v := v.(type) {
	case nil:
		return fmt.Errorf("has no value")
	case []any:
		list, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return fmt.Errorf("is a list, want one value")
		}
		texts := make([]string, len(v))
		for i, e := range v {
			texts[i] = fmt.Sprint(e)
		}
		f.Changed = true
		return list.Replace(texts)
	default:
		return flags.Set(f.Name, fmt.Sprint(v))
	}
}

// loadEnv reads the BELFRY_ variables. The flag of another command is no error,
// because all commands share one environment. Nor are the variables in passed,
// which a container platform has set and which are ignored.
func loadEnv(root *cobra.Command, environ []string) (k *koanf.Koanf, passed []string, err error) {
	known := map[string]bool{}
	learn(root, known)
	var unknown string
	service := serviceVariables(environ)
	k = koanf.New(".")
	err = k.Load(env.Provider(".", env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, EnvPrefix), "_", "-"))
			if !known[key] || EnvName(key) != name {
				if service(name) {
					passed = append(passed, name)
					return "", nil
				}
				unknown = name
			}
			return key, value
		},
	}), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("environment: %w", err)
	}
	if unknown != "" {
		return nil, nil, fmt.Errorf("%s: no such setting (variables are flags in capitals, as %s)", unknown, EnvName("offline-ttl"))
	}
	return k, passed, nil
}

// serviceForm matches, behind a service's name, the variables that container
// platforms set in every container for each service: BELFRY_SERVICE_HOST,
// BELFRY_PORT, BELFRY_PORT_8080_TCP_ADDR.
var serviceForm = regexp.MustCompile(`^([A-Z0-9_]*_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// serviceVariables returns a function that reports whether a container platform has
// set a variable for a service: serviceForm matches it, and its name begins with
// that of a service with a _SERVICE_HOST in environ.
func serviceVariables(environ []string) func(name string) bool {
	var services []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if service, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok {
			services = append(services, service+"_")
		}
	}
	return func(name string) bool {
		return serviceForm.MatchString(strings.TrimPrefix(name, EnvPrefix)) &&
			slices.ContainsFunc(services, func(service string) bool { return strings.HasPrefix(name, service) })
	}
}

// learn adds to known the names of the flags of cmd and of all commands below it.
func learn(cmd *cobra.Command, known map[string]bool) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = f.Name != helpFlag })
	for _, sub := range cmd.Commands() {
		learn(sub, known)
	}
}

func loadFile(path string, flags *pflag.FlagSet) (*koanf.Koanf, error) {
	k := koanf.New(".")
	text, err := os.ReadFile(path)
	if err == nil {
		err = k.Load(fileContent(text), yaml.Parser())
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %s: %w", ConfigFlag, path, err)
	}
	for _, key := range k.Keys() {
		if key == ConfigFlag || key == helpFlag || flags.Lookup(key) == nil {
			return nil, fmt.Errorf("%s: %s: no such setting", path, key)
		}
	}
	return k, nil
}

// A fileContent is a provider of koanf for the content of a file. koanf's own
// provider for files depends on a package that watches them.
type fileContent []byte

func (c fileContent) ReadBytes() ([]byte, error) { return c, nil }

func (c fileContent) Read() (map[string]any, error) { return nil, errors.ErrUnsupported }
