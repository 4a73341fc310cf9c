"""scikit-learn: logistic regression with its defaults on standardised features of the frozen network."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calcinosis.benchmarks.baselines.features import features
from calcinosis.benchmarks.baselines.task import read_task

if __name__ == "__main__":
    task = read_task()
    paths, labels = zip(*task.train, strict=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features(task, paths), labels)
    columns = [list(model.classes_).index(label) for label in task.labels]
    task.answer(model.predict_proba(features(task, task.test))[:, columns])
