package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/doctor"
	"github.com/slipway-build/slipway/pkg/isolation"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "try which isolation backends work in this pod, and say what is missing",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text or json"},
			stateDirFlag(""),
		},
		OnUsageError: asUsageError,
		Action:       runDoctor,
	}
}

func runDoctor(c *cli.Context) error {
	render, ok := map[string]func(io.Writer, *doctor.Report) error{"text": printReport, "json": printJSON}[c.String("output")]
	if !ok {
		return usageErrorf("--output %q is not one of text, json", c.String("output"))
	}
	dir, err := stateDir(c)
	if err != nil {
		return usageError{err}
	}
	report, err := doctor.Examine(c.Context, dir)
	if err != nil {
		return err
	}
	if err := render(c.App.Writer, report); err != nil {
		return err
	}
	if !report.Works() {
		return &isolation.UnsupportedError{Backend: "auto", What: "RUN", Reason: "no backend works in this pod; builds without RUN do"}
	}
	return nil
}

func printReport(w io.Writer, r *doctor.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ISOLATION\tWORKS\tMISSING") // errors of a tabwriter come out at Flush
	for _, b := range r.Backends {
		works := "no"
		if b.Works {
			works = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", b.Name, works, b.Reason)
	}
	fmt.Fprintln(t, "\t\t")
	for _, f := range r.Facts {
		fmt.Fprintf(t, "%s\t%s\n", f.Name, f.Value)
	}
	return t.Flush()
}

func printJSON(w io.Writer, r *doctor.Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
