package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/postgres"
)

// database is a PostgreSQL that Keycloak may have instead of its own H2. It answers on a unix socket alone, which Java
// can't dial, so we stand between.
type database struct {
	dir      string
	server   postgres.Server
	process  *exec.Cmd
	listener net.Listener
}

func startDatabase(ctx context.Context) (d *database, err error) {
	d = &database{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start PostgreSQL: %w", err), d.stop())
		}
	}()
	programs, err := postgres.Find("", 0)
	if err != nil {
		return d, err
	}
	if d.dir, err = os.MkdirTemp("", "bench-db"); err != nil {
		return d, err
	}
	if err = os.Chmod(d.dir, 0o711); err != nil { // the server's account has to get to its folder
		return d, err
	}
	d.server = postgres.Server{Name: "bench", Dir: filepath.Join(d.dir, "bench"), Programs: programs}
	if os.Getuid() == 0 {
		if d.server.Account, err = postgres.AccountOf("postgres"); err != nil {
			return d, err
		}
	}
	if err = d.server.Init(ctx, postgres.NewPasswords()); err != nil {
		return d, err
	}
	command, err := d.server.Command()
	if err != nil {
		return d, err
	}
	cmd := exec.Command(command.Argv[0], command.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = command.Env, command.Dir, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if command.UID != nil && os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: *command.UID, Gid: *command.GID}
	}
	if err = cmd.Start(); err != nil {
		return d, err
	}
	d.process = cmd
	up, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err = d.server.AwaitUp(up); err != nil {
		return d, err
	}
	if err = d.server.Ensure(ctx); err != nil {
		return d, err
	}
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return d, err
	}
	go d.forward()
	return d, nil
}

// forward leads every connection to the socket.
func (d *database) forward() {
	for {
		from, err := d.listener.Accept()
		if err != nil {
			return // closed by stop
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("unix", d.server.Socket())
			if err != nil {
				return
			}
			defer to.Close()
			go func() {
				io.Copy(to, from)
				to.Close()
			}()
			io.Copy(from, to)
		}()
	}
}

// options have a Keycloak use it.
func (d *database) options(o keycloaktest.Options) (keycloaktest.Options, error) {
	passwords, err := d.server.Passwords()
	if err != nil {
		return o, err
	}
	o.Build = map[string]string{"db": "postgres"}
	o.Start = map[string]string{"db-url": "jdbc:postgresql://" + d.listener.Addr().String() + "/" + postgres.Database,
		"db-username": string(postgres.Keycloak), "db-password": passwords[postgres.Keycloak]}
	return o, nil
}

func (d *database) stop() error {
	if d.listener != nil {
		d.listener.Close()
	}
	if d.process != nil {
		if err := d.process.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}
		_ = d.process.Wait() // it was told to end
	}
	if d.dir == "" {
		return nil
	}
	return os.RemoveAll(d.dir)
}
