package tree

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/user"

	"github.com/slipway-build/slipway/pkg/layer"
)

const testPasswd = `root:x:0:0:root:/root:/bin/sh
bin:x:1:1:bin:/bin:/sbin/nologin

alice:x:1000:1001:Alice:/home/alice:/bin/sh
bob:x:1000:1002:Bob:/home/bob:/bin/sh
carol:x:1003:1003:Carol
dave:x:1004:1004:::
1234:x:7:8:number:/seven:
alice:x:2000:2000:Second:/second:
huge:x:4294967294:4294967294::/huge:
none:x:4294967295:0::/:
minus:x:-1:-1::/:
overflow:x:99999999999999999999:1::/:
short
  spaced:x:1005:1005::/spaced:
`

const testGroup = `root:x:0:root
# comment:x:50:alice
bin:x:1:root,bin
wheel:x:10:root,alice
staff:x:20:alice,bob
alice:x:1001:
broken
minus:x:-1:dave
77:x:88:
`

// userView has the files that are given; "-" is for none.
func userView(t testing.TB, passwd, group string) *View {
	t.Helper()
	var files []layer.File
	for p, content := range map[string]string{"etc/passwd": passwd, "etc/group": group} {
		if content != "-" {
			e := layer.Entry{Path: p, Type: layer.Regular, Mode: 0o644, Size: int64(len(content))}
			files = append(files, layer.File{Entry: e, Content: layer.Bytes([]byte(content))})
		}
	}
	l, err := layer.New(files)
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestUser(t *testing.T) {
	tooLong := "root:x:0:0:" + strings.Repeat("x", 1<<17) + ":/root:\n" // for bufio.Scanner
	for _, tt := range []struct {
		spec, passwd, group string
		want                User
		err                 string
	}{
		{"", testPasswd, testGroup, User{0, 0, []uint32{0, 1, 10}, "/root"}, ""},
		{"", "-", "-", User{0, 0, nil, "/"}, ""},
		{"", tooLong, testGroup, User{0, 0, nil, "/"}, ""},
		{"", testPasswd, "g:x:1:" + strings.Repeat("x", 1<<21), User{0, 0, nil, "/root"}, ""},
		{"", "r:x:0:5::/r:", "", User{0, 5, nil, "/r"}, ""},

		{"root", testPasswd, testGroup, User{0, 0, []uint32{0, 1, 10}, "/root"}, ""},
		{"alice", testPasswd, testGroup, User{1000, 1001, []uint32{10, 20}, "/home/alice"}, ""},
		{"bin", testPasswd, testGroup, User{1, 1, []uint32{1}, "/bin"}, ""},
		{"spaced", testPasswd, testGroup, User{1005, 1005, nil, "/spaced"}, ""},
		// HOME goes by the number, and there alice is the first.
		{"bob", testPasswd, testGroup, User{1000, 1002, []uint32{20}, "/home/alice"}, ""},
		{"carol", testPasswd, testGroup, User{1003, 1003, nil, "/"}, ""},
		{"dave", testPasswd, testGroup, User{}, "id -1 is not in the range"},
		{"huge", testPasswd, testGroup, User{4294967294, 4294967294, nil, "/huge"}, ""},
		{"none", testPasswd, testGroup, User{}, "id 4294967295 is not in the range"},
		{"minus", testPasswd, testGroup, User{}, "id -1 is not in the range"},
		{"overflow", testPasswd, testGroup, User{}, "is not in the range"},
		{"nobody", testPasswd, testGroup, User{}, "unable to find user nobody"},
		{"alice", "-", testGroup, User{}, "unable to find user alice"},
		{"alice", "", testGroup, User{}, "unable to find user alice"},
		{"alice", testPasswd, "-", User{1000, 1001, nil, "/home/alice"}, ""},
		{"root", "-", "-", User{}, "unable to find user root"},
		{"alice", tooLong, "", User{}, "token too long"},

		{"1000", testPasswd, testGroup, User{1000, 1001, []uint32{10, 20}, "/home/alice"}, ""},
		{"4321", testPasswd, testGroup, User{4321, 0, nil, "/"}, ""},
		{"4321", "-", "-", User{4321, 0, nil, "/"}, ""},
		{"7", testPasswd, testGroup, User{7, 8, nil, "/seven"}, ""},
		{"1234", testPasswd, testGroup, User{1234, 0, nil, "/"}, ""}, // a number, not a name
		{"-1", testPasswd, testGroup, User{}, "range"},
		{"2147483648", testPasswd, testGroup, User{}, "range"},
		{"99999999999999999999", testPasswd, testGroup, User{}, "range"},

		{"alice:staff", testPasswd, testGroup, User{1000, 20, nil, "/home/alice"}, ""},
		{"alice:77", testPasswd, testGroup, User{1000, 77, nil, "/home/alice"}, ""},
		{"4321:staff", testPasswd, testGroup, User{4321, 20, nil, "/"}, ""},
		{"alice:nogroup", testPasswd, testGroup, User{}, "unable to find group nogroup"},
		{"alice:staff", testPasswd, "-", User{}, "unable to find group staff"},
		{"nobody:staff", testPasswd, testGroup, User{}, "unable to find user nobody"},
		{":staff", testPasswd, testGroup, User{0, 20, nil, "/root"}, ""},
		{"alice:", testPasswd, testGroup, User{1000, 1001, []uint32{10, 20}, "/home/alice"}, ""},

		{"1000:1000", testPasswd, testGroup, User{1000, 1000, nil, "/home/alice"}, ""},
		{"0:0", "-", "-", User{0, 0, nil, "/"}, ""},
		{"root:root", "-", "-", User{0, 0, nil, "/"}, ""},
		{"4294967294:4294967294", "-", "-", User{4294967294, 4294967294, nil, "/"}, ""},
		{"4294967295:0", "-", "-", User{}, "id 4294967295 is not in the range"},
		{"0:4294967296", "-", "-", User{}, "range"},
		{"1:2:3", testPasswd, testGroup, User{}, "unable to find group 2:3"},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			got, err := userView(t, tt.passwd, tt.group).User(t.Context(), tt.spec)
			if tt.err != "" {
				checkError(t, err, nil, tt.err)
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// The files are looked up in the view, through its links, and whatever is no regular file counts
// as missing.
func TestUserFiles(t *testing.T) {
	for _, tt := range []struct {
		name, spec string
		want       uint32
		err        string
	}{
		{"a link inside the root", "l etc/passwd /../../run/users; f run/users u:x:42:42", 42, ""},
		{"a broken link", "l etc/passwd gone", 0, "unable to find user u"},
		{"a loop", "l etc/passwd passwd", 0, "unable to find user u"},
		{"a directory", "d etc/passwd", 0, "unable to find user u"},
		{"a fifo", "p etc/passwd", 0, "unable to find user u"},
		{"etc is a file", "f etc", 0, "unable to find user u"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := specView(t, tt.spec).User(t.Context(), "u")
			if tt.err != "" {
				checkError(t, err, nil, tt.err)
				return
			}
			if err != nil || u.UID != tt.want {
				t.Errorf("%+v, %v", u, err)
			}
		})
	}
}

func TestUserFileTooLong(t *testing.T) {
	v := userView(t, strings.Repeat("\n", maxUserFile+1), "-")
	_, err := v.User(t.Context(), "alice")
	checkError(t, err, ErrTooLong, "/etc/passwd")
}

func TestUserUnreadable(t *testing.T) {
	broken := errors.New("connection lost")
	v, err := New(&failing{specLayer(t, "f etc/passwd root:x:0:0"), broken}).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{"", "root", "0:0"} {
		_, err := v.User(t.Context(), spec)
		checkError(t, err, broken, "/etc/passwd")
	}
	_, _, err = v.UID(t.Context(), "root")
	checkError(t, err, broken)
}

func TestUID(t *testing.T) {
	v := userView(t, testPasswd, testGroup)
	for _, tt := range []struct {
		name     string
		uid, gid uint32
		err      string
	}{
		{"root", 0, 0, ""},
		{"alice", 1000, 1001, ""},
		{"1234", 7, 8, ""}, // a name, not a number
		{"carol", 1003, 1003, ""},
		{"nobody", 0, 0, `user "nobody": no such user`},
		{"minus", 0, 0, "range"},
	} {
		uid, gid, err := v.UID(t.Context(), tt.name)
		if tt.err != "" {
			checkError(t, err, nil, tt.err)
		} else if err != nil || uid != tt.uid || gid != tt.gid {
			t.Errorf("%s: %d, %d, %v", tt.name, uid, gid, err)
		}
	}
	_, _, err := userView(t, "-", "-").UID(t.Context(), "root")
	checkError(t, err, ErrUnknownUser)
}

func TestGID(t *testing.T) {
	v := userView(t, testPasswd, testGroup)
	for _, tt := range []struct {
		name string
		gid  uint32
		err  string
	}{
		{"staff", 20, ""},
		{"77", 88, ""}, // a name, not a number
		{"nogroup", 0, `group "nogroup": no such user or group`},
		{"minus", 0, "range"},
		{"comment", 0, "no such"},
	} {
		gid, err := v.GID(t.Context(), tt.name)
		if tt.err != "" {
			checkError(t, err, nil, tt.err)
		} else if err != nil || gid != tt.gid {
			t.Errorf("%s: %d, %v", tt.name, gid, err)
		}
	}
	_, err := userView(t, "-", "-").GID(t.Context(), "root")
	checkError(t, err, ErrUnknownUser)
}

// FuzzUser parses any files, and checks that what comes out is an id and that the ids are
// what the library that the semantics come from says.
func FuzzUser(f *testing.F) {
	for _, spec := range []string{"", "alice", "1000", "alice:staff", "0:0", "minus", "carol:77"} {
		f.Add(spec, []byte(testPasswd), []byte(testGroup))
	}
	f.Fuzz(func(t *testing.T, spec string, passwd, group []byte) {
		u, err := parseUser(spec, passwd, group)
		if err != nil {
			if u.UID != 0 || u.Groups != nil {
				t.Fatalf("%+v with the error %v", u, err)
			}
			if spec == "" && !strings.Contains(err.Error(), "range") {
				t.Fatalf("the default user failed: %v", err)
			}
			return
		}
		if slices.Contains(append(u.Groups, u.UID, u.GID), math.MaxUint32) || u.Home == "" {
			t.Fatalf("%+v", u)
		}
		if _, _, ok := parseNumbers(spec); ok || spec == "" {
			return
		}
		exec, err := user.GetExecUser(spec, nil, reader(passwd), reader(group))
		if err != nil || uint32(exec.Uid) != u.UID || uint32(exec.Gid) != u.GID || len(exec.Sgids) != len(u.Groups) {
			t.Fatalf("%+v, want %+v, %v", u, exec, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("alice", []byte(testPasswd))
	f.Add("staff", []byte(testGroup))
	f.Fuzz(func(t *testing.T, name string, file []byte) {
		uid, gid, err := passwdEntry(name, file)
		if uid == math.MaxUint32 || gid == math.MaxUint32 || err != nil && uid+gid != 0 {
			t.Fatalf("%d, %d, %v", uid, gid, err)
		}
		if gid, err = groupEntry(name, file); gid == math.MaxUint32 || err != nil && gid != 0 {
			t.Fatalf("%d, %v", gid, err)
		}
	})
}
