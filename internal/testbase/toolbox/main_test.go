package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShell(t *testing.T) {
	t.Setenv("NAME", "world")
	tests := []struct {
		script string
		out    string
		code   int
	}{
		{"echo hello", "hello\n", 0},
		{"echo hello > f && cat f", "hello\n", 0},
		{"echo a > f; echo b >> f; cat f", "a\nb\n", 0},
		{"echo 'a  b' \"c $NAME\" d${NAME}e '$NAME'", "a  b c world dworlde $NAME\n", 0},
		{"false && echo no", "", 1},
		{"false && echo no && echo no\necho yes", "yes\n", 0},
		{"true && echo yes", "yes\n", 0},
		{"mkdir -p a/b && cd a/b && echo x>c && cd ../.. && cat a/b/c", "x\n", 0},
		{"echo x > f && cp f g && ln -s g h && ln g i && cat h i && rm f && rm -rf f g && cat g", "x\nx\n", 1},
		{"echo abc > f && sha256sum f", "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb  f\n", 0},
		{"echo a > f && echo b >> f && wc -l f", "2 f\n", 0},
		{"exit 42; echo no", "", 42},
		{"exit; echo no", "", 0},
		{"nosuchcommand", "", 1},
		{"", "", 0},
		// What it does not know it refuses.
		{"echo a | cat", "", 1},
		{"echo $(id)", "", 1},
		{"echo 'a", "", 1},
		{"echo a >", "", 1},
		{"echo *", "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			t.Chdir(t.TempDir())
			var out, errs strings.Builder
			code := run([]string{"/bin/sh", "-c", tt.script}, strings.NewReader(""), &out, &errs)
			if code != tt.code || out.String() != tt.out {
				t.Errorf("exit code %d, output %q, want %d, %q; standard error: %s", code, out.String(), tt.code, tt.out, errs.String())
			}
			if code == 1 && tt.out == "" && !strings.HasPrefix(tt.script, "false") && errs.Len() == 0 {
				t.Error("a failure without a message")
			}
		})
	}
}

func TestChmod(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := chmod([]string{"755", file}, stdio{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if err := chmod([]string{"u+x", file}, stdio{}); err == nil {
		t.Error("a symbolic mode was accepted")
	}
}

func TestCalledUnderItsOwnName(t *testing.T) {
	var out strings.Builder
	if code := run([]string{"/bin/toolbox", "echo", "x"}, nil, &out, &out); code != 0 || out.String() != "x\n" {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
	out.Reset()
	if code := run([]string{"/bin/toolbox", "--list"}, nil, &out, &out); code != 0 || !strings.Contains(out.String(), "\nsh\n") {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
	out.Reset()
	if code := run([]string{"/bin/toolbox", "vi"}, nil, &out, &out); code != 127 {
		t.Errorf("an unknown command gives exit code %d", code)
	}
}
