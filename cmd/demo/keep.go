package main

import (
	"errors"
	"fmt"
	"io"
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

func isKeeper() bool { return os.Getenv(keeper) != "" }

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
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		}
	}()
	done.Close()
	if text, _ := io.ReadAll(ready); len(text) > 0 {
		return 0
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	return 0
}

// release lets the command that was typed end, with its output: nothing is printed from here on.
func release() {
	os.NewFile(said, "keeper").WriteString("done\n")
	for _, fd := range []int{said, 2, 1} {
		syscall.Close(fd)
	}
	for range 3 { // what is opened next must not take the numbers of the standard files
		syscall.Open(os.DevNull, syscall.O_RDWR, 0)
	}
}
