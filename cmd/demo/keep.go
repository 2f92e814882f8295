package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// What is kept needs a process that outlives the command which was typed: the servers end with the process that started
// them. So with KEEP the whole demo runs in a keeper, and the command only waits until the keeper says that it is done.

const keeper = "CLOAKWORK_DEMO_KEEPER"

// said is where a keeper says that all is shown: the first file after the standard three.
const said = 3

// isKeeper tells whether this process is one. Then the programs that it starts don't get to hold its pipe open.
func isKeeper() bool {
	if os.Getenv(keeper) == "" {
		return false
	}
	syscall.CloseOnExec(said)
	return true
}

// detach runs the demo in a keeper, and gives the exit code when that has shown everything, or has ended.
func detach() int {
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	ready, done, err := os.Pipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), keeper+"=1")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{done}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the terminal's end and its interrupts aren't the keeper's
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	go func() {
		for range interrupts {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		}
	}()
	done.Close()
	if n, _ := ready.Read(make([]byte, 1)); n == 1 { // else it ended
		return 0
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	return 0
}

// release lets the command that was typed end, and whoever reads its output: nothing is printed from here on.
func release() {
	_, _ = syscall.Write(said, []byte("done")) // the reader may have been killed
	for _, fd := range []int{1, 2, said} {
		_ = syscall.Close(fd)
		_, _ = syscall.Open(os.DevNull, syscall.O_RDWR, 0) // takes the lowest number, so that nothing else does
	}
}
