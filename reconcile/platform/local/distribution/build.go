package distribution

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Build is a distribution with extensions on which kc.sh build was run. Nothing may be written into it.
type Build struct {
	Dir     string
	Version string
	Java    Java
}

// Build builds a Spec, or finds the build that was made of the same version, build options and extensions. It takes 10 to 30
// seconds; where the build fails, it returns a *Refused.
func (s Store) Build(ctx context.Context, spec Spec) (Build, error) {
	source, err := s.Distribution(ctx, spec.Version)
	if err != nil {
		return Build{}, err
	}
	b := Build{Version: spec.Version}
	if b.Java, err = findJava(source); err != nil {
		return b, err
	}
	key, err := spec.key()
	if err != nil {
		return b, err
	}
	b.Dir = source + "-" + key
	if exists(b.Dir) {
		return b, used(b.Dir)
	}
	unlock, err := lock(ctx, filepath.Dir(source))
	if err != nil {
		return b, err
	}
	defer unlock()
	if exists(b.Dir) {
		return b, nil
	}
	s.say("building Keycloak %s %s", spec.Version, strings.Join(flags(spec.Build), " "))
	err = makeFolder(b.Dir, func(part string) error {
		if err := link(source, part); err != nil {
			return err
		}
		for _, e := range spec.Extensions {
			if len(e.Content) == 0 {
				return fmt.Errorf("extension %s is gone: its build was removed", e.Name)
			}
			if err := os.WriteFile(filepath.Join(part, "providers", e.Name), e.Content, 0o644); err != nil {
				return err
			}
		}
		return s.augment(ctx, part, b.Java, spec)
	})
	if err != nil {
		return b, wrap("build Keycloak "+spec.Version, err)
	}
	return b, nil
}

// wrap says what was done, and keeps a refusal one.
func wrap(act string, err error) error {
	if refused := new(Refused); errors.As(err, &refused) {
		return &Refused{Why: act + ": " + refused.Why, Log: refused.Log}
	}
	return fmt.Errorf("%s: %w", act, err)
}

// rewritten is the folder that a build writes into, besides data.
var rewritten = filepath.Join("lib", "quarkus")

// augment runs kc.sh build in a folder.
func (s Store) augment(ctx context.Context, dir string, java Java, spec Spec) error {
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	writable := []string{dir, tmp, filepath.Join(dir, rewritten), filepath.Join(dir, "providers")}
	writable = append(writable, globbed(filepath.Join(dir, rewritten, "*"))...)
	if err := s.give(writable...); err != nil {
		return err
	}
	b := Build{Dir: dir, Java: java}
	argv, env := b.Run(dir, Spec{Env: spec.Env}, Node{}, append([]string{"build", "--verbose"}, flags(spec.Build)...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = env, dir, s.credential()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		return &Refused{Why: "kc.sh build: " + cmp.Or(Cause(string(out), spec.Hidden), "it ended with "+ended.String()), Log: LastLines(string(out), spec.Hidden)}
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	return s.takeBack(writable...)
}

// credential is who runs for the store.
func (s Store) credential() *syscall.SysProcAttr {
	if s.UID == nil || s.GID == nil {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: *s.UID, Gid: *s.GID}}
}

// give lets those who run for the store write into some paths, takeBack ends that.
func (s Store) give(paths ...string) error {
	if s.UID == nil || s.GID == nil {
		return nil
	}
	return chown(int(*s.UID), int(*s.GID), paths...)
}

func (s Store) takeBack(paths ...string) error {
	if s.UID == nil || s.GID == nil {
		return nil
	}
	return chown(os.Getuid(), os.Getgid(), paths...)
}

func chown(uid, gid int, paths ...string) error {
	for _, path := range paths {
		if err := os.Lchown(path, uid, gid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// link fills dir with hard links to the files of source, and with copies of those that a build rewrites.
func link(source, dir string) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, name)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case filepath.Dir(name) == rewritten:
			return copyFile(path, target)
		default:
			return os.Link(path, target)
		}
	})
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
