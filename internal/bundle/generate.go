package bundle

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// File is a generated file.
type File struct {
	Path string // slash-separated, relative to the repository
	Data []byte
}

// Generate makes all generated files of a repository anew, sorted by path. It writes nothing. What it
// makes depends on nothing but the repository's files, so that it gives the same when what it
// gave is written.
func Generate(repository fs.FS) ([]File, error) {
	made := map[string][]byte{}
	task, err := fs.ReadFile(repository, taskFile)
	if err != nil {
		return nil, err
	}
	for file, derive := range map[string]func([]byte) ([]byte, error){
		openShiftFile: openShiftTask, restrictedFile: restrictedTask, stepFile: stepAction,
	} {
		if made[file], err = derive(task); err != nil {
			return nil, fmt.Errorf("%s from %s: %w", file, taskFile, err)
		}
	}
	definitions, err := load(repository, made)
	if err != nil {
		return nil, err
	}
	for _, d := range definitions {
		readme, err := fs.ReadFile(repository, d.Readme())
		if err != nil {
			return nil, err
		}
		if made[d.Readme()], err = fillReadme(string(readme), d); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Readme(), err)
		}
	}
	made[CatalogFile] = Catalog(definitions)
	if err := generateArgo(repository, made); err != nil {
		return nil, err
	}

	var files []File
	for _, file := range slices.Sorted(maps.Keys(made)) {
		files = append(files, File{Path: file, Data: made[file]})
	}
	return files, nil
}

// generateArgo adds what follows from the WorkflowTemplate.
func generateArgo(repository fs.FS, made map[string][]byte) error {
	template, err := fs.ReadFile(repository, argoFile)
	if err != nil {
		return err
	}
	if made[argoClusterFile], err = ClusterWorkflowTemplate(template); err != nil {
		return fmt.Errorf("%s from %s: %w", argoClusterFile, argoFile, err)
	}
	readme, err := fs.ReadFile(repository, argoReadmeFile)
	if err != nil {
		return err
	}
	if made[argoReadmeFile], err = ArgoReadme(readme, template); err != nil {
		return fmt.Errorf("%s: %w", argoReadmeFile, err)
	}
	return nil
}
