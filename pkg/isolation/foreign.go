package isolation

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// CheckArchitecture reports whether programs of the architecture, by its GOARCH name, run here: it
// is this machine's own, or one that its processors and kernel know too (386 on amd64, arm on
// many arm64), or one for which the node has a handler in binfmt_misc. If they do not, the error is
// an *[UnsupportedError].
//
// It runs the smallest possible program, made in dir: in a container, the list of
// handlers (/proc/sys/fs/binfmt_misc) is usually not to be seen although they work. As a RUN
// does, the program runs in a root of its own, so that handlers count only if the kernel
// has opened them in advance (flag F).
func CheckArchitecture(ctx context.Context, dir, architecture string) error {
	if architecture == runtime.GOARCH {
		return nil
	}
	refuse := func(reason string) error {
		return &UnsupportedError{
			What: fmt.Sprintf("RUN for %s on %s", architecture, runtime.GOARCH),
			Reason: reason + fmt.Sprintf("; register an emulator with the flag F in binfmt_misc of the node, build on a node of architecture %s, "+
				"or let FROM --platform=$BUILDPLATFORM stages do the work (COPY needs no emulator)", architecture),
		}
	}
	machine, ok := machines()[architecture]
	if !ok {
		return refuse("nothing is known about running its programs")
	}
	err := tryProgram(ctx, dir, machine.program())
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.ENOEXEC):
		return refuse("the node's kernel has no handler for its programs")
	case errors.Is(err, fs.ErrNotExist):
		return refuse("the node's handler for its programs is not there for processes with another root, as it lacks the flag F")
	}
	return refuse(fmt.Sprintf("trying one of its programs failed: %v", err))
}

// tryProgram runs a program in a root directory of its own, if this process may change roots.
func tryProgram(ctx context.Context, dir string, program []byte) (err error) {
	root, err := os.MkdirTemp(dir, "foreign-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	path := filepath.Join(root, "program")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		return err
	}
	err = start(ctx, "/program", &syscall.SysProcAttr{Chroot: root})
	if errors.Is(err, syscall.EPERM) {
		err = start(ctx, path, nil)
	}
	return err
}

func start(ctx context.Context, path string, attr *syscall.SysProcAttr) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		cmd := exec.CommandContext(ctx, path)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{}, attr
		err := cmd.Run()
		if !errors.Is(err, syscall.ETXTBSY) {
			return err
		}
		// A process that was just forked by another goroutine still holds the file
		// open for writing, until it executes its own program.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

// machine says how programs of an architecture look.
type machine struct {
	id    elf.Machine
	class elf.Class
	order binary.ByteOrder
	flags uint32
	exit  []uint32 // instructions that call exit(0); the last may be shorter
}

// machines are the architectures that images are made for.
func machines() map[string]machine {
	little, big := binary.ByteOrder(binary.LittleEndian), binary.ByteOrder(binary.BigEndian)
	return map[string]machine{
		// mov $60, %eax; xor %edi, %edi; syscall
		"amd64": {elf.EM_X86_64, elf.ELFCLASS64, little, 0, []uint32{0x00003cb8, 0x0fff3100, 0x00000005}},
		// mov $1, %eax; xor %ebx, %ebx; int $0x80
		"386": {elf.EM_386, elf.ELFCLASS32, little, 0, []uint32{0x000001b8, 0xcddb3100, 0x00000080}},
		// mov x8, #93; mov x0, #0; svc #0
		"arm64": {elf.EM_AARCH64, elf.ELFCLASS64, little, 0, []uint32{0xd2800ba8, 0xd2800000, 0xd4000001}},
		// mov r7, #1; mov r0, #0; svc #0; with version 5 of the ABI
		"arm": {elf.EM_ARM, elf.ELFCLASS32, little, 0x05000000, []uint32{0xe3a07001, 0xe3a00000, 0xef000000}},
		// li a7, 93; li a0, 0; ecall
		"riscv64": {elf.EM_RISCV, elf.ELFCLASS64, little, 0, []uint32{0x05d00893, 0x00000513, 0x00000073}},
		// li r0, 1; li r3, 0; sc; with version 2 of the ABI
		"ppc64le": {elf.EM_PPC64, elf.ELFCLASS64, little, 2, []uint32{0x38000001, 0x38600000, 0x44000002}},
		// lghi %r2, 0; svc 1
		"s390x": {elf.EM_S390, elf.ELFCLASS64, big, 0, []uint32{0xa7290000, 0x0a010000}},
		// li v0, 5058; li a0, 0; syscall; for the 64-bit ABI
		"mips64le": {elf.EM_MIPS, elf.ELFCLASS64, little, 0x80000000, []uint32{0x240213c2, 0x24040000, 0x0000000c}},
		// li.w a7, 93; li.w a0, 0; syscall 0
		"loong64": {elf.EM_LOONGARCH, elf.ELFCLASS64, little, 0x43, []uint32{0x0381740b, 0x03800004, 0x002b0000}},
	}
}

// program is an executable file that does nothing but end with status 0.
func (m machine) program() []byte {
	const base, page = 0x400000, 0x10000 // of memory; no machine has larger pages
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(m.class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	if m.order == binary.ByteOrder(binary.BigEndian) {
		ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	code := make([]byte, 4*len(m.exit))
	for i, instruction := range m.exit {
		m.order.PutUint32(code[4*i:], instruction)
	}
	var header, segment any
	if m.class == elf.ELFCLASS64 {
		const start = 64 + 56 // behind the two headers
		size := uint64(start + len(code))
		header = elf.Header64{
			Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(m.id), Version: uint32(elf.EV_CURRENT),
			Entry: base + start, Phoff: 64, Flags: m.flags, Ehsize: 64, Phentsize: 56, Phnum: 1,
		}
		segment = elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
			Filesz: size, Memsz: size, Align: page,
		}
	} else {
		const start = 52 + 32
		size := uint32(start + len(code))
		header = elf.Header32{
			Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(m.id), Version: uint32(elf.EV_CURRENT),
			Entry: base + start, Phoff: 52, Flags: m.flags, Ehsize: 52, Phentsize: 32, Phnum: 1,
		}
		segment = elf.Prog32{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
			Filesz: size, Memsz: size, Align: page,
		}
	}
	var b bytes.Buffer
	for _, part := range []any{header, segment, code} {
		// Neither can writing to memory fail, nor do these types lack a fixed size.
		_ = binary.Write(&b, m.order, part)
	}
	return b.Bytes()
}
