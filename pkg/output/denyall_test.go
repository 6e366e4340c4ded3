package output_test

import "net/http"

func denyAll(w http.ResponseWriter, _ *http.Request) bool {
	http.Error(w, `{"errors":[{"code":"DENIED","message":"requested access is denied"}]}`, http.StatusForbidden)
	return true
}
